/**
 * A local disk, as one URL sees it: each URL has a `DiskFileSystem` of its own, so that one whose disk stalls holds up
 * no other (E2). Log files are written by a thread of their own (log-thread.ts). All other calls go through libuv's
 * threads, which the whole process shares: at most two of them are ever ours.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { tryLock } from 'fs-native-extensions';
import { systemCode } from '../errors.ts';
import type { AppendFile, FileLock, FileStatus, FileSystem, LockHolder, NewFile } from './filesystem.ts';
import { LogThread } from './log-thread.ts';
import { partsFrom } from './parts.ts';
import { Slots } from './slots.ts';
import type { StoredEntry, StoredReader } from './storage.ts';

/** Two, so that a read goes on beside a flush; the process sizes `UV_THREADPOOL_SIZE` by it. */
const callsAtOnce = 2;
/** A lock file longer than this is not ours. */
const holderBytesMax = 4096;

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY } = constants;

export class DiskFileSystem implements FileSystem {
  readonly #slots = new Slots(callsAtOnce);
  readonly #logs = new LogThread();

  async list(directory: string): Promise<StoredEntry[]> {
    const entries = await this.#slots.run(() => readdir(directory, { withFileTypes: true }));
    const listed = entries.map(async (entry) => {
      const kind = entry.isSymbolicLink() ? await this.#kindBehind(`${directory}/${entry.name}`) : kindOf(entry);
      return { name: entry.name, kind };
    });
    return (await Promise.all(listed)).toSorted((one, other) => (one.name < other.name ? -1 : 1));
  }

  async stat(path: string): Promise<FileStatus> {
    const status = await this.#slots.run(() => stat(path));
    return { kind: kindOf(status), bytes: status.size };
  }

  async createDirectory(directory: string): Promise<void> {
    await this.#slots.run(() => mkdir(directory));
  }

  async removeDirectory(directory: string): Promise<void> {
    await this.#slots.run(() => rmdir(directory));
  }

  async open(path: string): Promise<StoredReader> {
    const handle = await this.#open(path, O_RDONLY);
    try {
      const { size } = await this.#slots.run(() => handle.stat());
      return {
        bytes: size,
        read: (offset, length) => this.#slots.run(() => readRange(handle, offset, length)),
        close: () => this.#close(handle),
      };
    } catch (error) {
      await this.#close(handle);
      throw error;
    }
  }

  async create(path: string): Promise<NewFile> {
    const handle = await this.#open(path, O_WRONLY | O_CREAT | O_EXCL);
    return {
      write: (parts) => this.#slots.run(() => writeAll(handle, parts)),
      sync: () => this.#slots.run(() => handle.datasync()),
      close: () => this.#close(handle),
    };
  }

  prepareAppendFiles(): void {
    this.#logs.start();
  }

  async createAppendFile(path: string): Promise<AppendFile> {
    return await this.#logs.create(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#slots.run(() => rename(from, to));
  }

  async unlink(path: string): Promise<void> {
    await this.#slots.run(() => unlink(path));
  }

  async syncDirectory(directory: string): Promise<void> {
    const handle = await this.#open(directory, O_RDONLY | O_DIRECTORY);
    try {
      await this.#slots.run(() => handle.sync());
    } finally {
      await this.#close(handle);
    }
  }

  /**
   * The kernel's lock belongs to this open file: it also refuses another one of this process, other processes see it
   * across pid namespaces, and it goes when the file is closed, at the latest with the process. The file itself stays:
   * who removed it would let two lock two files of that name.
   */
  async tryLock(path: string, text: string): Promise<FileLock | LockHolder> {
    const handle = await this.#open(path, O_RDWR | O_CREAT);
    try {
      if (!tryLock(handle.fd)) {
        const holder = await this.#slots.run(() => readRange(handle, 0, holderBytesMax));
        await this.#close(handle);
        return { held: false, text: holder.toString().trim() };
      }
      await this.#slots.run(() => handle.truncate(0));
      await this.#slots.run(() => writeAll(handle, [Buffer.from(`${text}\n`)]));
      return { held: true, release: () => this.#close(handle) };
    } catch (error) {
      await this.#close(handle);
      throw error;
    }
  }

  async space(directory: string): Promise<{ freeBytes: number; totalBytes: number }> {
    const { bavail, blocks, bsize } = await this.#slots.run(() => statfs(directory));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  async close(): Promise<void> {
    await this.#logs.close();
  }

  /** An administrator may have moved a directory to another disk, and left a link; one to nothing is neither. */
  async #kindBehind(link: string): Promise<StoredEntry['kind']> {
    try {
      return (await this.stat(link)).kind;
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return 'other';
      throw error;
    }
  }

  #open(path: string, flags: number): Promise<FileHandle> {
    return this.#slots.run(() => open(path, flags));
  }

  #close(handle: FileHandle): Promise<void> {
    return this.#slots.run(() => handle.close());
  }
}

function kindOf(entry: { isFile(): boolean; isDirectory(): boolean }): StoredEntry['kind'] {
  if (entry.isFile()) return 'file';
  return entry.isDirectory() ? 'directory' : 'other';
}

async function readRange(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

async function writeAll(handle: FileHandle, parts: readonly Uint8Array[]): Promise<void> {
  let left = partsFrom(parts, 0);
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left);
    left = partsFrom(left, bytesWritten);
  }
}
