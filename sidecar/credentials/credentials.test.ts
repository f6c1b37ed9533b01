import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { publishMounted } from '../../test/mounted-directory.ts';
import { until } from '../../test/running-sidecar.ts';
import type { ManagedUrl } from '../assignment/assignment.ts';
import { Credentials } from './credentials.ts';
import { credentialsProblem } from './secret-directory.ts';
import type { StoreScheme } from './secret-keys.ts';

async function temporary(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-secret-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function urlOf(scheme: StoreScheme): ManagedUrl {
  const reason = 'not looked at';
  const url = `${scheme}://bucket/wal`;
  return { component: 'wal', index: 0, url, storage: undefined, state: 'Unavailable', reason, id: undefined };
}

test('a Secret that comes, is completed and rotates is read again without a restart, and what it holds is not logged (R7)', async (context) => {
  const directory = join(await temporary(context), 'wal-s3');
  await mkdir(directory);
  const logged: unknown[] = [];
  const log = (...line: unknown[]): number => logged.push(line);
  const [first, second] = [urlOf('s3'), urlOf('s3')];
  const urls = [first, second].map((managed) => ({ managed, scheme: 's3' as const, directory }));
  const credentials = new Credentials(urls, { info: log, warn: log });
  context.after(() => credentials.close());
  await credentials.start();
  assert.match(first.reason, /the Secret wal-s3 does not exist or is empty/);
  await publishMounted(directory, { AWS_ACCESS_KEY_ID: 'hidden-1' });
  await until('what is missing', () => /lacks AWS_SECRET_ACCESS_KEY/.test(first.reason));
  await publishMounted(directory, { AWS_ACCESS_KEY_ID: 'hidden-2', AWS_SECRET_ACCESS_KEY: 'hidden-3' });
  await until('all is there', () => first.reason.startsWith('s3:// comes with a later version'));
  assert.equal(second.reason, first.reason);
  await publishMounted(directory, { AWS_ACCESS_KEY_ID: 'hidden-4', AWS_SECRET_ACCESS_KEY: '' });
  await until('one is empty', () => /AWS_SECRET_ACCESS_KEY of the Secret wal-s3 is empty/.test(second.reason));
  assert.equal(first.state, 'Unavailable');
  assert.ok(logged.length >= 8 && !JSON.stringify(logged).includes('hidden'));
});

test('a directory that is not there, is none, or cannot be read is named with the remedy', async (context) => {
  const parent = await temporary(context);
  const absent = join(parent, 'wal-gcs');
  assert.match(
    (await credentialsProblem('gcs', absent)) ?? '',
    /^there is no directory .*\/wal-gcs for the Secret wal-gcs: replace the pod/,
  );
  await writeFile(join(parent, 'file'), '');
  assert.match((await credentialsProblem('gcs', join(parent, 'file'))) ?? '', /there is no directory/);
  await mkdir(join(absent, 'key.json'), { recursive: true });
  assert.match((await credentialsProblem('gcs', absent)) ?? '', /the Secret wal-gcs in .* cannot be read \(EISDIR\)/);
});

test('R5: a value over 64 KiB is refused without being read whole', async (context) => {
  const directory = join(await temporary(context), 'wal-adls');
  await mkdir(directory);
  await writeFile(join(directory, 'AZURE_STORAGE_KEY'), 'x'.repeat(65_537));
  assert.match(
    (await credentialsProblem('adls', directory)) ?? '',
    /AZURE_STORAGE_KEY of the Secret wal-adls has more than 65536 bytes/,
  );
  await writeFile(join(directory, 'AZURE_STORAGE_KEY'), 'x'.repeat(100));
  assert.equal(await credentialsProblem('adls', directory), undefined);
});
