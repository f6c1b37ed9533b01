/**
 * A commit in the making: the batches and records that will become durable together, as one frame of the journal (E1).
 * Entries are encoded straight into its buffer.
 */
import type { FrameBatch, FrameCollection, FrameContent, FrameRecord } from '../journal/frame.ts';
import type { Collection } from './collection.ts';
import { encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { AppendDone } from './wal.ts';

/** A client's append on its way. */
export interface Append {
  readonly collection: Collection;
  readonly nextSequence: number | undefined;
  /** Operation, key, payload of each entry in turn. */
  readonly fields: readonly Buffer[];
  /** No encoding of it is longer. */
  readonly bytesMax: number;
  readonly deadlineMs: number;
  readonly done: AppendDone;
}

/** A batch that has its sequences and stands in the commit's buffer. */
export interface FilledBatch {
  readonly collection: Collection;
  /** Of the collection, in the frame's list. */
  readonly index: number;
  readonly first: number;
  readonly count: number;
  readonly offset: number;
  readonly bytes: number;
  readonly timestampUs: number;
  readonly reservedBytes: number;
  readonly done: AppendDone;
}

export interface RecordRequest {
  readonly name: string;
  readonly incarnation: string;
  readonly record: Omit<FrameRecord, 'collection'>;
  readonly settle: (error: Error | undefined, fileNumber: number) => void;
}

/** No encoding of an append with these fields is longer. */
export function appendBytesMax(fields: readonly Buffer[]): number {
  let bytes = (fields.length / 3) * entryOverheadBytesMax;
  for (const field of fields) bytes += field.length;
  return bytes;
}

/** The sequences of one collection in a commit. */
export interface CommitRange {
  readonly collection: Collection;
  /** Its place in the frame's list of collections. */
  readonly index: number;
  readonly first: number;
  last: number;
  /** The commit that it belongs to; none once that is over. A collection remembers its newest range. */
  commit: Commit | undefined;
}

export class Commit {
  readonly batches: FilledBatch[] = [];
  readonly records: RecordRequest[] = [];
  readonly ranges: CommitRange[] = [];
  usedBytes = 0;
  #buffer: Buffer;

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.allocUnsafeSlow(capacityBytes);
  }

  get isEmpty(): boolean {
    return this.batches.length === 0 && this.records.length === 0;
  }

  get capacityBytes(): number {
    return this.#buffer.length;
  }

  /** The entries so far, as the frame's body: a view. */
  get body(): Buffer {
    return this.#buffer.subarray(0, this.usedBytes);
  }

  /** Whether an append of at most `bytesMax` fits; an empty commit makes room for any. */
  hasRoom(bytesMax: number): boolean {
    return this.usedBytes + bytesMax <= this.#buffer.length || this.batches.length === 0;
  }

  /** Encodes an append, giving it sequences from `first` on. */
  fill(append: Append, first: number, timestampUs: number): void {
    if (append.bytesMax > this.#buffer.length - this.usedBytes) {
      this.#buffer = Buffer.allocUnsafeSlow(append.bytesMax);
    }
    const { collection, fields } = append;
    const offset = this.usedBytes;
    let at = offset;
    let sequence = first;
    for (let field = 0; field + 2 < fields.length; field += 3) {
      const [operation, key, payload] = [fields[field], fields[field + 1], fields[field + 2]];
      if (operation === undefined || key === undefined || payload === undefined) break;
      at = encodeEntry(this.#buffer, at, sequence++, timestampUs, operation, key, payload);
    }
    this.usedBytes = at;
    const count = sequence - first;
    const range = this.#rangeOf(collection, first);
    range.last = sequence - 1;
    this.batches.push({
      collection,
      index: range.index,
      first,
      count,
      offset,
      bytes: at - offset,
      timestampUs,
      reservedBytes: append.bytesMax,
      done: append.done,
    });
  }

  /** The frame's lists. */
  content(): FrameContent {
    const collections: FrameCollection[] = this.ranges.map(({ collection: { name, incarnation }, first, last }) => {
      return { name, incarnation, first, last };
    });
    const batches: FrameBatch[] = this.batches.map(({ index, count, bytes }) => {
      return { collection: index, entries: count, bytes };
    });
    const records: FrameRecord[] = this.records.map(({ name, incarnation, record }) => {
      const { nextSequence } = record;
      collections.push({ name, incarnation, first: nextSequence, last: nextSequence - 1 });
      return { ...record, collection: collections.length - 1 };
    });
    return { collections, batches, records };
  }

  #rangeOf(collection: Collection, first: number): CommitRange {
    const newest = collection.commitRange;
    if (newest?.commit === this) return newest;
    const range: CommitRange = { collection, index: this.ranges.length, first, last: first - 1, commit: this };
    this.ranges.push(range);
    collection.commitRange = range;
    return range;
  }

  /** Makes it an empty one again; a buffer that grew beyond `capacityBytes` for one large append is given up. */
  reset(capacityBytes: number): void {
    this.batches.length = 0;
    this.records.length = 0;
    for (const range of this.ranges) range.commit = undefined;
    this.ranges.length = 0;
    this.usedBytes = 0;
    if (this.#buffer.length > capacityBytes) this.#buffer = Buffer.allocUnsafeSlow(capacityBytes);
  }
}
