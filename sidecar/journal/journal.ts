/**
 * The writing side of one URL's journal: a row of files in one epoch. One frame at a time; a file is left for a new one
 * when it is full or after a write failed in it (R3), and the new file's header names the old one and the end of what is
 * valid there (E4). What may be deleted is decided by the caller; files go oldest first (E9).
 *
 * Positions in the file being written: synced ≤ written. Both only move forward.
 */
import { randomBytes } from 'node:crypto';
import { isNoSpace, WalError } from '../errors.ts';
import type { LogFile, Storage } from '../storage/storage.ts';
import { journalDirectory, journalFileName } from './file-name.ts';
import { encodeFileHeader, encodeFrameHeader, type FrameContent, fileHeaderBytes } from './frame.ts';

export interface JournalOptions {
  readonly storage: Storage;
  readonly epoch: number;
  /** A file that has reached this size takes no further frame. */
  readonly fileBytesMax: number;
}

/** A file of the journal, for bounding and freeing. */
export interface JournalFile {
  readonly number: number;
  readonly name: string;
  bytes: number;
}

interface CurrentFile {
  readonly file: JournalFile;
  readonly log: LogFile;
  readonly marker: Buffer;
  /** All below is handed to the system, and valid. */
  writtenBytes: number;
  /** All below is on the disk. */
  syncedBytes: number;
}

export class Journal {
  /** Whether a write resolves only when it is on the disk; if not, `sync` makes it so. */
  durableWrites = true;
  readonly #options: JournalOptions;
  /** As in the options; another one counts from the next frame on. */
  fileBytesMax: number;
  readonly #files: JournalFile[] = [];
  #current: CurrentFile | undefined;
  /** The current file had a failed write and was cut: the next frame goes into a successor. */
  #leave = false;
  /** A sync failed, or a failed write could not be cut: nothing can be said of the tail any more. */
  #failed: WalError | undefined;
  #nextNumber = 1;
  #recovered = false;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.fileBytesMax = options.fileBytesMax;
  }

  /** The files that exist, oldest first; the last one is being written. */
  get files(): readonly JournalFile[] {
    return this.#files;
  }

  get bytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, 0);
  }

  get epoch(): number {
    return this.#options.epoch;
  }

  /**
   * Writes one frame; with durable writes it is on the disk when this resolves with the number of its file.
   * Throws NOSPACE when no byte of it is left behind (the cut is durable), UNAVAILABLE when nothing is known.
   */
  async write(content: FrameContent, body: Uint8Array): Promise<number> {
    if (this.#failed !== undefined) throw this.#failed;
    const current = await this.#fileForNextFrame();
    const offset = current.writtenBytes;
    const header = encodeFrameHeader(
      {
        marker: current.marker,
        epoch: this.#options.epoch,
        offset,
        syncedOffset: current.syncedBytes,
        recovered: this.#recovered,
      },
      content,
      body,
    );
    try {
      await current.log.append(body.length === 0 ? [header] : [header, body], this.durableWrites);
    } catch (error) {
      throw await this.#afterFailedWrite(current, error);
    }
    current.writtenBytes = offset + header.length + body.length;
    current.file.bytes = current.writtenBytes;
    if (this.durableWrites) current.syncedBytes = current.writtenBytes;
    return current.file.number;
  }

  /** Writes the `recovered` frame by itself and syncs it: from then on older epochs are void (E17). */
  async writeRecovered(): Promise<void> {
    await this.sync();
    const record = { kind: 'recovered', collection: 0, nextSequence: 0, checkpoint: 0, damage: '' } as const;
    await this.write({ collections: [], batches: [], records: [record] }, new Uint8Array());
    await this.sync();
    this.#recovered = true;
  }

  /** Everything written is on the disk when this resolves. After an error the journal takes nothing more. */
  async sync(): Promise<void> {
    const current = this.#current;
    if (this.#failed !== undefined) throw this.#failed;
    if (current === undefined || current.syncedBytes === current.writtenBytes) return;
    const upTo = current.writtenBytes;
    try {
      await current.log.sync();
    } catch (error) {
      throw this.#fail(`syncing ${current.file.name} failed`, error);
    }
    if (upTo > current.syncedBytes) current.syncedBytes = upTo;
  }

  /** Deletes the oldest file, which must not be the one being written; durable when it resolves. */
  async removeOldest(): Promise<void> {
    const oldest = this.#files[0];
    if (oldest === undefined || oldest === this.#current?.file)
      throw new Error('the file being written cannot be freed');
    await this.#options.storage.remove(journalDirectory, [oldest.name]);
    this.#files.shift();
  }

  async close(): Promise<void> {
    await this.#current?.log.close();
    this.#current = undefined;
  }

  async #fileForNextFrame(): Promise<CurrentFile> {
    const current = this.#current;
    if (current !== undefined && !this.#leave && current.writtenBytes < this.fileBytesMax) return current;
    if (current !== undefined) await this.sync();
    const next = await this.#createFile(current);
    await current?.log.close();
    this.#current = next;
    this.#files.push(next.file);
    this.#leave = false;
    return next;
  }

  async #createFile(predecessor: CurrentFile | undefined): Promise<CurrentFile> {
    const number = this.#nextNumber++;
    const name = journalFileName(this.#options.epoch, number);
    const marker = randomBytes(16);
    const header = encodeFileHeader({
      epoch: this.#options.epoch,
      number,
      marker,
      predecessor: predecessor?.file.number ?? 0,
      predecessorEnd: predecessor?.writtenBytes ?? 0,
    });
    const { storage } = this.#options;
    try {
      await storage.createDirectory(journalDirectory);
      const log = await storage.createLog(`${journalDirectory}/${name}`, header);
      const file = { number, name, bytes: fileHeaderBytes };
      return { file, log, marker, writtenBytes: fileHeaderBytes, syncedBytes: fileHeaderBytes };
    } catch (error) {
      if (!isNoSpace(error)) throw this.#fail(`creating ${name} failed`, error);
      throw new WalError('NOSPACE', `${storage.url} is full: no journal file can be made; free or add space`, {
        cause: error,
      });
    }
  }

  async #afterFailedWrite(current: CurrentFile, error: unknown): Promise<WalError> {
    this.#leave = true;
    if (!isNoSpace(error)) return this.#fail(`writing ${current.file.name} failed`, error);
    try {
      await current.log.cut(current.writtenBytes);
      current.syncedBytes = current.writtenBytes;
    } catch (cutError) {
      return this.#fail(`cutting ${current.file.name} after a failed write failed`, cutError);
    }
    const { url } = this.#options.storage;
    return new WalError('NOSPACE', `${url} is full: nothing of this append is in the log; free or add space`, {
      cause: error,
    });
  }

  #fail(what: string, error: unknown): WalError {
    const reason = error instanceof Error ? error.message : String(error);
    const { url } = this.#options.storage;
    this.#failed = new WalError(
      'UNAVAILABLE',
      `${url}: ${what} (${reason}); repair the storage and restart the sidecar`,
      {
        cause: error,
      },
    );
    return this.#failed;
  }
}
