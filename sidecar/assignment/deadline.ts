import { WalError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';

/** How long one call to a URL may take, as the states of a URL say. */
export const deadlineMsDefault = 30_000;

/** The part of a URL's storage that directories and small files need. */
export type DirectoryStorage = Pick<
  Storage,
  'url' | 'list' | 'listFiles' | 'read' | 'createDirectory' | 'publish' | 'remove' | 'removeDirectory' | 'syncDirectory'
>;

/**
 * The same storage, each of whose calls fails with UNAVAILABLE after `limitMs`: a hung mount must not hold up the other
 * URLs. What was begun may still end later.
 */
export function withDeadline(storage: DirectoryStorage, limitMs: number): DirectoryStorage {
  const { url } = storage;
  return {
    url,
    list: (directory) => within(limitMs, `Listing ${url}/${directory}`, storage.list(directory)),
    listFiles: (directory) => within(limitMs, `Listing ${url}/${directory}`, storage.listFiles(directory)),
    read: (path) => within(limitMs, `Reading ${url}/${path}`, storage.read(path)),
    createDirectory: (path) => within(limitMs, `Making ${url}/${path}`, storage.createDirectory(path)),
    publish: (path, parts) => within(limitMs, `Writing ${url}/${path}`, storage.publish(path, parts)),
    remove: (path, names) => within(limitMs, `Removing files from ${url}/${path}`, storage.remove(path, names)),
    removeDirectory: (path) => within(limitMs, `Removing ${url}/${path}`, storage.removeDirectory(path)),
    syncDirectory: (path) => within(limitMs, `Syncing ${url}/${path}`, storage.syncDirectory(path)),
  };
}

/** The promise's result, or UNAVAILABLE when it takes over `limitMs`. `what` begins the error's sentence. */
export async function within<T>(limitMs: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const sentence = `${what} gave no answer for ${limitMs / 1000} s: check the mount.`;
    timer = setTimeout(() => reject(new WalError('UNAVAILABLE', sentence)), limitMs);
    // What hangs is a call of the system, which keeps the process by itself.
    timer.unref();
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
