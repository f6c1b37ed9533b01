/**
 * `Storage` in the files of one directory.
 *
 * This module alone syncs files and directories. What becomes durable, and in which order:
 *
 * | change | steps |
 * |---|---|
 * | a whole file | create `_tmp-N` · write · sync the file · rename over its name · sync the directory |
 * | a log file | create `_tmp-N` · write its header synced · rename · sync the directory; later appends are synced writes |
 * | a directory | make it · sync its parent, from the URL's own directory downwards |
 * | a removal | unlink or rmdir · sync the directory that held the name |
 *
 * A step that finds its work done (a directory that exists, a file that is gone) syncs all the same: who did it may
 * have died, or not have come, before the sync. A file whose write or sync failed is never used again (R3): its
 * temporary name is removed, and the next attempt makes another. What a crash leaves behind bears a temporary name.
 * A change whose last step, the sync of a directory, fails may have happened and may yet be undone by a power cut.
 */
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { systemCode, WalError } from '../errors.ts';
import { type FileLock, type FileSystem, parentOf, systemError } from './filesystem.ts';
import { FileLog } from './log.ts';
import type { LogFile, Storage, StoredEntry, StoredFile, StoredReader } from './storage.ts';

const lockName = '_lock';
const lockRetryMs = 50;
const temporaryPrefix = '_tmp-';

/** Whether a name is one that `publish` or `createLog` leaves behind when the process dies in them. */
export function isTemporaryName(name: string): boolean {
  return name.startsWith(temporaryPrefix);
}

/**
 * The storage of `url`, kept in `directory` (absolute, no slash at its end) of `fileSystem`. A disk's file system
 * belongs to this one storage, which closes it; a simulated one may hold several. Nothing is touched yet.
 */
export function openFileStorage(url: string, directory: string, fileSystem: FileSystem): FileStorage {
  return new FileStorage(url, directory, fileSystem);
}

export class FileStorage implements Storage {
  readonly url: string;
  readonly #root: string;
  readonly #fileSystem: FileSystem;
  #lock: FileLock | undefined;
  #temporaryNames = 0;

  constructor(url: string, directory: string, fileSystem: FileSystem) {
    this.url = url;
    this.#root = directory;
    this.#fileSystem = fileSystem;
  }

  /** Makes the URL's directory and takes its lock. `UNAVAILABLE` names the holder after `waitMs`. */
  async lock(holder: string, waitMs: number): Promise<void> {
    if (this.#lock) throw new Error(`${this.url} is locked by this storage already`);
    await this.#createRoot();
    const path = this.#path(lockName);
    const text = `${holder}, pid ${process.pid} on host ${hostname()}, since ${new Date().toISOString()}`;
    const deadline = performance.now() + waitMs;
    for (;;) {
      const attempt = await this.#fileSystem.tryLock(path, text);
      if (attempt.held) {
        this.#lock = attempt;
        return;
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw lockTaken(path, attempt.text);
      await setTimeout(Math.min(lockRetryMs, leftMs));
    }
  }

  async unlock(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  async exists(): Promise<boolean> {
    return await this.#isDirectory(this.#root);
  }

  async list(directory: string): Promise<StoredEntry[]> {
    return await this.#fileSystem.list(this.#path(directory));
  }

  async listFiles(directory: string): Promise<StoredFile[]> {
    const entries = await this.list(directory);
    const names = entries.filter((entry) => entry.kind === 'file').map((entry) => entry.name);
    const files = await Promise.all(names.map((name) => this.#measure(directory, name)));
    return files.filter((file) => file !== undefined);
  }

  async read(path: string): Promise<Buffer> {
    const reader = await this.openReader(path);
    try {
      return await reader.read(0, reader.bytes);
    } finally {
      await reader.close();
    }
  }

  async openReader(path: string): Promise<StoredReader> {
    return await this.#fileSystem.open(this.#path(path));
  }

  async createDirectory(directory: string): Promise<void> {
    let path = this.#root;
    for (const name of directory.split('/').filter(Boolean)) {
      const parent = path;
      path = `${parent}/${name}`;
      await this.#ensureDirectory(path);
      await this.#fileSystem.syncDirectory(parent);
    }
  }

  async publish(path: string, parts: readonly Uint8Array[]): Promise<void> {
    const target = this.#path(path);
    const directory = parentOf(target);
    const [file, temporary] = await this.#createTemporary(directory, (name) => this.#fileSystem.create(name));
    try {
      try {
        await file.write(parts);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#fileSystem.rename(temporary, target);
    } catch (error) {
      await this.#discard(temporary);
      throw error;
    }
    await this.#fileSystem.syncDirectory(directory);
  }

  async remove(directory: string, names: readonly string[]): Promise<void> {
    const path = this.#path(directory);
    for (const name of names) await ignoring('ENOENT', this.#fileSystem.unlink(`${path}/${name}`));
    await ignoring('ENOENT', this.#fileSystem.syncDirectory(path));
  }

  async removeDirectory(directory: string): Promise<void> {
    const path = this.#path(directory);
    await ignoring('ENOENT', this.#fileSystem.removeDirectory(path));
    await ignoring('ENOENT', this.#fileSystem.syncDirectory(parentOf(path)));
  }

  async rename(directory: string, from: string, to: string): Promise<void> {
    const path = this.#path(directory);
    await this.#fileSystem.rename(`${path}/${from}`, `${path}/${to}`);
    await this.#fileSystem.syncDirectory(path);
  }

  async syncDirectory(directory: string): Promise<void> {
    const path = this.#path(directory);
    await this.#fileSystem.syncDirectory(path);
    await this.#syncParent(path);
  }

  prepareLogs(): void {
    this.#fileSystem.prepareAppendFiles();
  }

  async createLog(path: string, header: Uint8Array): Promise<LogFile> {
    const target = this.#path(path);
    const directory = parentOf(target);
    // A rename would replace: who has the lock alone makes files here, so that looking first is enough.
    if (await this.#exists(target)) throw systemError('EEXIST', 'open', target);
    const [file, temporary] = await this.#createTemporary(directory, (name) => this.#fileSystem.createAppendFile(name));
    const log = new FileLog(target, file);
    try {
      await log.append([header], true);
      await this.#fileSystem.rename(temporary, target);
      await this.#fileSystem.syncDirectory(directory);
    } catch (error) {
      await log.close().catch(() => undefined);
      await this.#discard(temporary);
      throw error;
    }
    return log;
  }

  async space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return await this.#fileSystem.space(this.#root);
  }

  async close(): Promise<void> {
    await this.unlock();
    await this.#fileSystem.close();
  }

  #path(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }

  async #exists(path: string): Promise<boolean> {
    return (await ignoring('ENOENT', this.#fileSystem.stat(path))) !== undefined;
  }

  /** False if nothing is there; `ENOTDIR` if something else is. */
  async #isDirectory(path: string): Promise<boolean> {
    const status = await ignoring('ENOENT', this.#fileSystem.stat(path));
    if (status && status.kind !== 'directory') throw systemError('ENOTDIR', 'stat', path);
    return status !== undefined;
  }

  /** A file's size, or undefined if it went away since it was listed. */
  async #measure(directory: string, name: string): Promise<StoredFile | undefined> {
    const status = await ignoring('ENOENT', this.#fileSystem.stat(this.#path(`${directory}/${name}`)));
    return status && { name, bytes: status.bytes };
  }

  async #ensureDirectory(path: string): Promise<void> {
    try {
      await this.#fileSystem.createDirectory(path);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      // A file, or a link to nothing, is in the way.
      const status = await ignoring('ENOENT', this.#fileSystem.stat(path));
      if (status?.kind !== 'directory') throw systemError('ENOTDIR', 'mkdir', path);
    }
  }

  /** The URL's directory and its missing ancestors, each with its parent synced. */
  async #createRoot(): Promise<void> {
    const missing: string[] = [];
    for (let path = this.#root; !(await this.#isDirectory(path)); path = parentOf(path)) missing.unshift(path);
    for (const path of missing) {
      await this.#ensureDirectory(path);
      await this.#fileSystem.syncDirectory(parentOf(path));
    }
    if (missing.length === 0) await this.#syncParent(this.#root);
  }

  /**
   * The parent of the URL's own directory need not be ours to open, and then whoever made our directory (the kubelet,
   * an administrator) had to see to its survival; everywhere else a failure is one.
   */
  async #syncParent(path: string): Promise<void> {
    try {
      await this.#fileSystem.syncDirectory(parentOf(path));
    } catch (error) {
      const foreign = path === this.#root && ['EACCES', 'EPERM', 'EROFS'].includes(systemCode(error) ?? '');
      if (!foreign) throw error;
    }
  }

  /** A new file under a name that nothing else bears: names left by an earlier process are passed over. */
  async #createTemporary<File>(directory: string, create: (path: string) => Promise<File>): Promise<[File, string]> {
    for (;;) {
      this.#temporaryNames += 1;
      const path = `${directory}/${temporaryPrefix}${this.#temporaryNames}`;
      const file = await ignoring('EEXIST', create(path));
      if (file !== undefined) return [file, path];
    }
  }

  /** After a failure: best effort, since the error already on its way matters more, and recovery removes leftovers. */
  async #discard(temporary: string): Promise<void> {
    await this.#fileSystem.unlink(temporary).catch(() => undefined);
  }
}

/** What the call gives, or undefined where it fails with `code`. */
async function ignoring<Value>(code: string, call: Promise<Value>): Promise<Value | undefined> {
  try {
    return await call;
  } catch (error) {
    if (systemCode(error) === code) return undefined;
    throw error;
  }
}

function lockTaken(path: string, holder: string): WalError {
  const who = holder === '' ? 'another process' : holder;
  return new WalError(
    'UNAVAILABLE',
    `${path} is locked by ${who}: a storage URL has one writer; stop that one, or configure another directory`,
  );
}
