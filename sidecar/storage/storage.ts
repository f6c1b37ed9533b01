/**
 * What the engine needs of one URL's storage. Paths are relative to the URL, '/'-separated, `''` is the URL itself.
 * Every method that changes something resolves only when the change is durable: the caller never syncs.
 * `FileStorage` implements it on a `FileSystem` (the local disk, or the simulated one); object stores come later.
 *
 * Errors: system errors pass through with their `code` (`ENOENT`, `EEXIST`, `ENOSPC`, `EIO`, …).
 */
export interface Storage {
  /** The URL, expanded and normalised, as configured otherwise. */
  readonly url: string;

  /**
   * Makes the URL's own directory if its parent exists or can be made, and takes the lock that the kernel releases
   * at this process's death (E28). A taken lock is tried for `waitMs`, then refused with what its holder wrote there.
   */
  lock(holder: string, waitMs: number): Promise<void>;
  unlock(): Promise<void>;

  /** Whether the URL's own directory exists. */
  exists(): Promise<boolean>;

  /** The entries of a directory, without temporary names' special treatment; `ENOENT` when there is none. */
  list(directory: string): Promise<StoredEntry[]>;
  /** Like `list`, files only, with sizes in bytes. */
  listFiles(directory: string): Promise<StoredFile[]>;

  /** A whole small file. */
  read(path: string): Promise<Buffer>;
  openReader(path: string): Promise<StoredReader>;

  /** A directory and its missing parents below the URL, each with its parent synced; no error if it exists. */
  createDirectory(directory: string): Promise<void>;
  /**
   * A whole file under `path`: written under a temporary name beginning with `_` in the same directory, synced,
   * renamed over `path`, the directory synced (E8). Replaces what was there.
   */
  publish(path: string, parts: readonly Uint8Array[]): Promise<void>;
  /** Files of one directory, removed and the directory synced; absent ones are no error. */
  remove(directory: string, names: readonly string[]): Promise<void>;
  /** An empty directory, removed and its parent synced; an absent one is no error, a non-empty one is `ENOTEMPTY`. */
  removeDirectory(directory: string): Promise<void>;
  /** A file gets another name in its directory, the directory synced. */
  rename(directory: string, from: string, to: string): Promise<void>;
  /** Syncs a directory and its parent, so that names seen there are on the disk (E17). */
  syncDirectory(directory: string): Promise<void>;

  /** Makes ready what the first `createLog` would have to wait for. */
  prepareLogs(): void;
  /** A new log file (`EEXIST` if there is one) holding `header`; the file and its directory are synced. */
  createLog(path: string, header: Uint8Array): Promise<LogFile>;

  /** Bytes free for us and in all, of the file system below. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>;

  /** Ends workers and closes files. */
  close(): Promise<void>;
}

export interface StoredEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
}

export interface StoredFile {
  readonly name: string;
  readonly bytes: number;
}

export interface StoredReader {
  readonly bytes: number;
  /** Up to `length` bytes at `offset`; fewer only at the end of the file. */
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * A file that only grows. One call at a time: a second `append` before the first resolved is a programming error.
 * After a rejected `append` or `sync` the file is not to be appended to again (R3), but for `cut` after `ENOSPC`.
 */
export interface LogFile {
  /** The bytes handed to the operating system so far, header included. */
  readonly writtenBytes: number;
  /**
   * Writes the parts at the end, in order. With `durable` it resolves when they are on the disk (a synced write);
   * otherwise when the system has them. Leave the parts as they are until then.
   */
  append(parts: readonly Uint8Array[], durable: boolean): Promise<void>;
  /** Everything written so far is on the disk. */
  sync(): Promise<void>;
  /** Cuts the file to `bytes` and syncs it. */
  cut(bytes: number): Promise<void>;
  close(): Promise<void>;
}
