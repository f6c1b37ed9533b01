/**
 * What `FileStorage` needs of a file system: single primitives, none of which promises to survive a power cut by
 * itself. The one rule of this folder: only `file.ts` calls the sync primitives, so each durable composition
 * (write, sync, rename, sync the directory) exists once.
 *
 * Paths are absolute and '/'-separated. Errors are system errors with their `code` (`ENOENT`, `EEXIST`, `ENOSPC`, …).
 * Implementations: `DiskFileSystem` (one for each URL) and `SimulatedFileSystem` (in memory, crashes on demand).
 */
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import type { StoredEntry, StoredReader } from './storage.ts';

export interface FileSystem {
  /** A directory's entries in the order of their names. */
  list(directory: string): Promise<StoredEntry[]>;
  stat(path: string): Promise<FileStatus>;
  /** One directory; its parent must be there. `EEXIST` if the name is taken. */
  createDirectory(directory: string): Promise<void>;
  removeDirectory(directory: string): Promise<void>;
  /** An existing file, for reading. */
  open(path: string): Promise<StoredReader>;
  /** A new file, to be written once. `EEXIST` if the name is taken. */
  create(path: string): Promise<NewFile>;
  /** Makes ready what `createAppendFile` needs, so that the first one is not slower than others. */
  prepareAppendFiles(): void;
  /** A new file, to be appended to with synced writes. `EEXIST` if the name is taken. */
  createAppendFile(path: string): Promise<AppendFile>;
  /** Replaces `to`. Both lie in the same directory. */
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** The names made, changed and removed in this directory so far are on the disk. */
  syncDirectory(directory: string): Promise<void>;
  /**
   * Takes an exclusive lock on the file at `path`, made if absent, which the kernel releases when this process dies,
   * and writes `text` into it. If another has it: what that one wrote.
   */
  tryLock(path: string, text: string): Promise<FileLock | LockHolder>;
  /** Of the file system that holds `directory`. */
  space(directory: string): Promise<{ freeBytes: number; totalBytes: number }>;
  /** Ends what works in the background; files opened by `createAppendFile` are closed. */
  close(): Promise<void>;
}

export interface FileStatus {
  readonly kind: StoredEntry['kind'];
  readonly bytes: number;
}

export interface NewFile {
  /** Writes all parts, in order, at the end. */
  write(parts: readonly Uint8Array[]): Promise<void>;
  /** Content and length are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface AppendFile {
  /**
   * Writes the parts, in order, at `position`. With `synced`, the written bytes and the file's length are on the disk
   * when it resolves without error; what was written before without `synced` need not be.
   */
  write(parts: readonly Uint8Array[], position: number, synced: boolean): Promise<WriteOutcome>;
  sync(): Promise<void>;
  truncate(bytes: number): Promise<void>;
  close(): Promise<void>;
}

/** How much of a write the system took, and the error that ended it if that isn't all. */
export interface WriteOutcome {
  readonly bytes: number;
  readonly error: Error | undefined;
}

export interface FileLock {
  readonly held: true;
  release(): Promise<void>;
}

export interface LockHolder {
  readonly held: false;
  /** What the holder wrote; empty if it has not yet. */
  readonly text: string;
}

/** The path of a directory's parent; the root is its own. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

/** An error as Node's own file calls throw it, for `code` (such as `ENOENT`) in the call `operation` on `path`. */
export function systemError(code: string, operation: string, path: string): NodeJS.ErrnoException {
  const number = Object.entries(constants.errno).find(([name]) => name === code)?.[1];
  const reason = number === undefined ? 'failed' : getSystemErrorMessage(-number);
  const error: NodeJS.ErrnoException = new Error(`${code}: ${reason}, ${operation} '${path}'`);
  error.code = code;
  error.syscall = operation;
  error.path = path;
  if (number !== undefined) error.errno = -number;
  return error;
}
