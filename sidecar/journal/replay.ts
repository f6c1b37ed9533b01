/**
 * The reading side of one URL's journal (E16–E21).
 *
 * Which epoch counts: the newest one in which a `recovered` frame, or a frame that says one stood before it, is found; epochs
 * above it were begun by recoveries that did not finish and hold only copies (E18), those below are void (E17).
 *
 * Where a file's valid content ends: at the offset that its successor's header names; what lies beyond is ignored (E4).
 * In the last file, at its first bad frame, which is an unclean end, unless a later frame's synced offset is above it: then the
 * bad frame had been durable, and this is damage (E20). After damage, reading goes on at the next whole header.
 */
import { systemCode } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';
import { type JournalFileName, journalDirectory, parseJournalFileName } from './file-name.ts';
import {
  type DecodedFrame,
  decodeFileHeader,
  decodeFrame,
  type FileHeader,
  type FrameCollection,
  type FrameHeader,
  fileHeaderBytes,
  findMarker,
} from './frame.ts';

/** Bytes that once were durable and can't be read any more. */
export interface JournalDamage {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** The collections that lost entries there; undefined where that is unknown because the header is damaged, too. */
  readonly collections: readonly FrameCollection[] | undefined;
}

/** What lay behind the last whole frame of the journal: a write that the crash interrupted. */
export interface UncleanEnd {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Receives an epoch's frames in order. Bodies are views that die with the call: what is kept must be copied. */
export interface ReplayHandler {
  /** `body` is undefined where it is damaged: then `damage` follows; the header's records hold all the same. */
  frame(header: FrameHeader, body: Buffer | undefined): void;
  damage(damage: JournalDamage): void;
}

export interface Replay<Handler extends ReplayHandler> {
  /** What the frames of the epoch that counts were given to; undefined if there is no such epoch. */
  readonly handler: Handler | undefined;
  /** The highest epoch of any file: a new writer's must be above it. 0 if there is none. */
  readonly highestEpoch: number;
  /** Every journal file found, oldest first: void once a newer epoch has recovered. */
  readonly files: readonly string[];
  readonly damages: readonly JournalDamage[];
  readonly uncleanEnd: UncleanEnd | undefined;
  readonly bytes: number;
}

/** Reads the journal of `storage`; `makeHandler` is called anew for each epoch that is tried. */
export async function replayJournal<Handler extends ReplayHandler>(
  storage: Storage,
  makeHandler: () => Handler,
): Promise<Replay<Handler>> {
  const { names, bytes } = await listJournal(storage);
  const epochs = [...new Set(names.map((name) => name.epoch))].toSorted((a, b) => b - a);
  const found = { highestEpoch: epochs[0] ?? 0, files: names.map((name) => name.name), bytes };
  for (const [index, epoch] of epochs.entries()) {
    const handler = makeHandler();
    const reader = new EpochReader(storage, epoch, handler);
    await reader.read(names.filter((name) => name.epoch === epoch));
    // Older epochs are deleted only after a newer one has recovered. So where there is no older one, this one had, even if
    // its `recovered` frame is what was damaged; the very first epoch that never finished holds nothing, and reads as that.
    const isOldest = index === epochs.length - 1;
    if (reader.recovered || isOldest) {
      return { ...found, handler, damages: reader.damages, uncleanEnd: reader.uncleanEnd };
    }
  }
  return { ...found, handler: undefined, damages: [], uncleanEnd: undefined };
}

async function listJournal(storage: Storage): Promise<{ names: JournalFileName[]; bytes: number }> {
  const names: JournalFileName[] = [];
  let bytes = 0;
  try {
    for (const file of await storage.listFiles(journalDirectory)) {
      const name = parseJournalFileName(file.name);
      if (name === undefined) continue;
      names.push(name);
      bytes += file.bytes;
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  names.sort((a, b) => a.epoch - b.epoch || a.number - b.number);
  return { names, bytes };
}

interface OpenedFile {
  readonly name: string;
  /** Undefined where the header is missing or damaged. */
  readonly header: FileHeader | undefined;
  readonly number: number;
}

class EpochReader {
  recovered = false;
  readonly damages: JournalDamage[] = [];
  uncleanEnd: UncleanEnd | undefined;
  readonly #storage: Storage;
  readonly #epoch: number;
  readonly #handler: ReplayHandler;

  constructor(storage: Storage, epoch: number, handler: ReplayHandler) {
    this.#storage = storage;
    this.#epoch = epoch;
    this.#handler = handler;
  }

  async read(names: readonly JournalFileName[]): Promise<void> {
    const files: OpenedFile[] = [];
    for (const name of names) files.push(await this.#open(name));
    const ends = new Map<number, number>();
    for (const { header } of files) if (header !== undefined) ends.set(header.predecessor, header.predecessorEnd);
    for (const [index, file] of files.entries()) {
      this.#checkPredecessor(file, files[index - 1]);
      await this.#readFile(file, ends.get(file.number));
    }
  }

  async #open(name: JournalFileName): Promise<OpenedFile> {
    const bytes = await this.#bytesOf(name.name, fileHeaderBytes);
    const header = decodeFileHeader(bytes);
    const isOurs = header !== undefined && header.epoch === name.epoch && header.number === name.number;
    return { name: name.name, number: name.number, header: isOurs ? header : undefined };
  }

  /** A file that a successor names must be there, unless everything before the successor was freed. */
  #checkPredecessor(file: OpenedFile, before: OpenedFile | undefined): void {
    if (file.header === undefined || file.header.predecessor === 0 || before === undefined) return;
    if (file.header.predecessor <= before.number) return;
    const name = `${file.name} (its predecessor, number ${file.header.predecessor}, is missing)`;
    this.#report({ file: name, offset: 0, bytes: file.header.predecessorEnd, collections: undefined });
  }

  async #readFile(file: OpenedFile, knownEnd: number | undefined): Promise<void> {
    const whole = await this.#bytesOf(file.name, undefined);
    if (file.header === undefined) {
      // Its creation was never durable, or it would have got frames and a successor, or both.
      const isDamage = knownEnd !== undefined || whole.length > fileHeaderBytes;
      if (isDamage) this.#report({ file: file.name, offset: 0, bytes: whole.length, collections: undefined });
      return;
    }
    this.#readFrames(file.name, file.header.marker, whole.subarray(0, knownEnd), knownEnd);
  }

  #readFrames(name: string, marker: Buffer, bytes: Buffer, knownEnd: number | undefined): void {
    let offset = fileHeaderBytes;
    while (offset < bytes.length) {
      const decoded = decodeFrame(bytes, offset, marker, this.#epoch);
      if (decoded.kind === 'frame') {
        this.#deliver(decoded.header, decoded.body);
        offset += decoded.header.headerBytes + decoded.header.bodyBytes;
        continue;
      }
      if (knownEnd === undefined && !this.#wasDurable(bytes, offset, marker)) {
        this.uncleanEnd = { file: name, offset, bytes: bytes.length - offset };
        return;
      }
      offset = this.#passDamage(name, bytes, offset, marker, decoded);
    }
    if (knownEnd !== undefined && offset < knownEnd) {
      this.#report({ file: name, offset, bytes: knownEnd - offset, collections: undefined });
    }
  }

  #deliver(header: FrameHeader, body: Buffer | undefined): void {
    if (header.recovered || header.records.some((record) => record.kind === 'recovered')) this.recovered = true;
    this.#handler.frame(header, body);
  }

  /** Whether a frame after `offset` says that the byte at `offset` had been durable when it was written. */
  #wasDurable(bytes: Buffer, offset: number, marker: Buffer): boolean {
    for (let at = findMarker(bytes, offset + 1, marker); at >= 0; at = findMarker(bytes, at + 1, marker)) {
      const decoded = decodeFrame(bytes, at, marker, this.#epoch);
      if (decoded.kind !== 'badHeader' && decoded.header.syncedOffset > offset) return true;
    }
    return false;
  }

  /** Reports the damage at `offset`; returns where the next frame begins, or the end. */
  #passDamage(name: string, bytes: Buffer, offset: number, marker: Buffer, decoded: DecodedFrame): number {
    if (decoded.kind === 'badBody') {
      const end = Math.min(bytes.length, offset + decoded.header.headerBytes + decoded.header.bodyBytes);
      this.#deliver(decoded.header, undefined);
      this.#report({ file: name, offset, bytes: end - offset, collections: decoded.header.collections });
      return end;
    }
    let next = findMarker(bytes, offset + 1, marker);
    while (next >= 0 && decodeFrame(bytes, next, marker, this.#epoch).kind === 'badHeader') {
      next = findMarker(bytes, next + 1, marker);
    }
    const end = next < 0 ? bytes.length : next;
    this.#report({ file: name, offset, bytes: end - offset, collections: undefined });
    return end;
  }

  #report(damage: JournalDamage): void {
    this.damages.push(damage);
    this.#handler.damage(damage);
  }

  async #bytesOf(name: string, length: number | undefined): Promise<Buffer> {
    const reader = await this.#storage.openReader(`${journalDirectory}/${name}`);
    try {
      return await reader.read(0, length ?? reader.bytes);
    } finally {
      await reader.close();
    }
  }
}
