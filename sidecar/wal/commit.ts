/**
 * A commit in the making: the batches and records that will become durable together, as one frame of the journal (E1).
 * Entries are encoded straight into its buffer, which is shared with the URL's worker thread: they are not copied to be written.
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

interface CollectionRange {
  readonly index: number;
  readonly name: string;
  readonly incarnation: string;
  first: number;
  last: number;
}

export class Commit {
  readonly batches: FilledBatch[] = [];
  readonly records: RecordRequest[] = [];
  readonly touched = new Map<Collection, number>();
  usedBytes = 0;
  #buffer: Buffer;

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.from(new SharedArrayBuffer(capacityBytes));
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
      this.#buffer = Buffer.from(new SharedArrayBuffer(append.bytesMax));
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
    this.touched.set(collection, sequence - 1);
    this.batches.push({
      collection,
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
    const ranges = new Map<string, CollectionRange>();
    const range = (name: string, incarnation: string, first: number): CollectionRange => {
      let found = ranges.get(incarnation);
      if (found === undefined) {
        found = { index: ranges.size, name, incarnation, first, last: first - 1 };
        ranges.set(incarnation, found);
      }
      return found;
    };
    const batches: FrameBatch[] = this.batches.map((batch) => {
      const of = range(batch.collection.name, batch.collection.incarnation, batch.first);
      of.last = batch.first + batch.count - 1;
      return { collection: of.index, entries: batch.count, bytes: batch.bytes };
    });
    const records: FrameRecord[] = this.records.map(({ name, incarnation, record }) => {
      return { ...record, collection: range(name, incarnation, record.nextSequence).index };
    });
    const collections: FrameCollection[] = [...ranges.values()];
    return { collections, batches, records };
  }

  /** Makes it an empty one again; a buffer that grew beyond `capacityBytes` for one large append is given up. */
  reset(capacityBytes: number): void {
    this.batches.length = 0;
    this.records.length = 0;
    this.touched.clear();
    this.usedBytes = 0;
    if (this.#buffer.length > capacityBytes) this.#buffer = Buffer.from(new SharedArrayBuffer(capacityBytes));
  }
}
