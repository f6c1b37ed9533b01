/** The user's cache: directories that are complete or absent, and made by one process at a time. */
import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { tryLock } from 'fs-native-extensions';

/** How often a lock that another process holds is tried again; a build takes minutes. */
const lockPollMs = 250;

/** Ours below `$XDG_CACHE_HOME`, else below `~/.cache`. */
export function cacheDirectory(): string {
  const set = process.env['XDG_CACHE_HOME'];
  return join(set !== undefined && isAbsolute(set) ? set : join(homedir(), '.cache'), 'walstorage');
}

/**
 * The directory `name` of the cache. Where it is absent, `make` fills a temporary directory, which then gets the name: it is
 * there whole or not at all. Meanwhile other processes that want it wait for a lock that the kernel releases at death.
 */
export async function cached(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const root = cacheDirectory();
  const wanted = join(root, name);
  if (await exists(wanted)) return wanted;
  await mkdir(root, { recursive: true });
  const lock = await open(join(root, `${name}.lock`), 'a');
  try {
    while (!tryLock(lock.fd)) await setTimeout(lockPollMs);
    if (await exists(wanted)) return wanted;
    const prefix = `${name}.unfinished-`;
    const leftovers = (await readdir(root)).filter((entry) => entry.startsWith(prefix));
    for (const leftover of leftovers) await rm(join(root, leftover), { recursive: true, force: true });
    const unfinished = await mkdtemp(join(root, prefix));
    try {
      await make(unfinished);
      await rename(unfinished, wanted);
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
    return wanted;
  } finally {
    await lock.close();
  }
}

/** Leaves the `kept` directories of the cache that were made last of those whose names begin with `prefix`. */
export async function pruneCache(prefix: string, kept: number): Promise<void> {
  const root = cacheDirectory();
  const names = (await readdir(root)).filter((name) => name.startsWith(prefix) && !/\.lock$|\.unfinished-/.test(name));
  const made = await Promise.all(
    names.map(async (name) => ({ name, ms: (await stat(join(root, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
  );
  for (const { name } of made.toSorted((one, other) => other.ms - one.ms).slice(kept)) {
    await rm(join(root, name), { recursive: true, force: true });
    await rm(join(root, `${name}.lock`), { force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
