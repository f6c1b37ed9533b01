/** A Secret as it is mounted: a file for each key, behind the `..data` link. */
import { open, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemCode } from '../errors.ts';
import { keysRead, type SecretContent, type StoreScheme, secretProblem } from './secret-keys.ts';

/** R5: no credential is larger. */
const valueBytesMax = 64 * 1024;

/**
 * What is wrong with the credentials in the directory: a sentence that names the Secret (the directory's last part), its keys and the
 * remedy, never a value; undefined if nothing is. Does not reject.
 */
export async function credentialsProblem(scheme: StoreScheme, directory: string): Promise<string | undefined> {
  const name = basename(directory);
  try {
    return secretProblem(scheme, name, await readSecret(scheme, directory));
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return `there is no directory ${directory} for the Secret ${name}: replace the pod, which mounts it there`;
    }
    if (error instanceof ValueTooLarge) {
      return `${error.key} of the Secret ${name} has more than ${valueBytesMax} bytes: give it the credential alone`;
    }
    return `the Secret ${name} in ${directory} cannot be read (${code ?? 'unknown error'}): let the sidecar's user read it`;
  }
}

class ValueTooLarge extends Error {
  readonly key: string;

  constructor(key: string) {
    super(`the value of ${key} is too large`);
    this.key = key;
  }
}

async function readSecret(scheme: StoreScheme, directory: string): Promise<SecretContent> {
  const names = (await readdir(directory)).filter((name) => !name.startsWith('..'));
  const known = keysRead(scheme);
  const read = names.map(async (key) => {
    return [key, known.includes(key) ? await readValue(directory, key) : undefined] as const;
  });
  return new Map(await Promise.all(read));
}

async function readValue(directory: string, key: string): Promise<Buffer> {
  const file = await open(join(directory, key));
  try {
    const buffer = Buffer.alloc(valueBytesMax + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    if (bytesRead > valueBytesMax) throw new ValueTooLarge(key);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
