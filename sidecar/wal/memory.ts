/**
 * One collection's unflushed entries: their encoded bytes, in sequence order, in chunks that belong to this collection alone.
 * Entries are copied out of the commit's buffer when they are published, so a commit's buffer is free at once and
 * what is counted here is what is held (E6). A flush freezes the chunks there are; appends go on into new ones.
 */
import { entrySequence, skipEntry } from './entry.ts';

const chunkBytesMin = 4 * 1024;
const chunkBytesMax = 256 * 1024;
/** A batch's start is noted when it is at least so far behind the last noted one: bounds a search's walk. */
const markDistanceBytes = 4 * 1024;

/** Entries `first` … `first + count − 1`, encoded one after the other. */
export interface EntryRun {
  readonly first: number;
  readonly count: number;
  readonly bytes: Buffer;
}

class Chunk {
  readonly first: number;
  count = 0;
  usedBytes = 0;
  readonly #buffer: Buffer;
  readonly #markSequences: number[] = [];
  readonly #markOffsets: number[] = [];

  constructor(first: number, capacityBytes: number) {
    this.first = first;
    this.#buffer = Buffer.allocUnsafeSlow(capacityBytes);
  }

  get capacityBytes(): number {
    return this.#buffer.length;
  }

  get last(): number {
    return this.first + this.count - 1;
  }

  get freeBytes(): number {
    return this.#buffer.length - this.usedBytes;
  }

  append(run: EntryRun): void {
    const marked = this.#markOffsets.at(-1);
    if (marked === undefined || this.usedBytes - marked >= markDistanceBytes) {
      this.#markSequences.push(run.first);
      this.#markOffsets.push(this.usedBytes);
    }
    this.#buffer.set(run.bytes, this.usedBytes);
    this.usedBytes += run.bytes.length;
    this.count += run.count;
  }

  /** The run of this chunk's entries from `from` on. */
  runFrom(from: number): EntryRun {
    const used = this.#buffer.subarray(0, this.usedBytes);
    if (from <= this.first) return { first: this.first, count: this.count, bytes: used };
    let offset = this.#markBefore(from);
    while (offset < used.length && entrySequence(used, offset) < from) offset = skipEntry(used, offset);
    return { first: from, count: this.last - from + 1, bytes: used.subarray(offset) };
  }

  #markBefore(sequence: number): number {
    let low = 0;
    let high = this.#markSequences.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#markSequences[middle] ?? 0) <= sequence) low = middle;
      else high = middle - 1;
    }
    return this.#markOffsets[low] ?? 0;
  }
}

export class CollectionMemory {
  #frozen: Chunk[] = [];
  #active: Chunk[] = [];
  /** Encoded bytes, and what they occupy: the figure that is bounded. */
  usedBytes = 0;
  capacityBytes = 0;

  get isEmpty(): boolean {
    return this.#frozen.length === 0 && this.#active.length === 0;
  }

  /** Encoded bytes that no flush is writing yet. */
  get unfrozenBytes(): number {
    return this.usedBytes - this.#frozen.reduce((sum, chunk) => sum + chunk.usedBytes, 0);
  }

  /** The first sequence held, or undefined. */
  get first(): number | undefined {
    return (this.#frozen[0] ?? this.#active[0])?.first;
  }

  get last(): number | undefined {
    return (this.#active.at(-1) ?? this.#frozen.at(-1))?.last;
  }

  /** Copies a run in; it must continue what is held. */
  append(run: EntryRun): void {
    const last = this.last;
    if (last !== undefined && run.first !== last + 1)
      throw new Error(`entries from ${run.first} do not follow ${last}`);
    const bytes = run.bytes.length;
    let chunk = this.#active.at(-1);
    if (chunk === undefined || chunk.freeBytes < bytes) {
      const grown = Math.min(chunkBytesMax, 2 * (chunk?.capacityBytes ?? chunkBytesMin / 2));
      chunk = new Chunk(run.first, Math.max(grown, bytes));
      this.#active.push(chunk);
      this.capacityBytes += chunk.capacityBytes;
    }
    chunk.append(run);
    this.usedBytes += bytes;
  }

  /** Freezes all there is for a flush and returns it, or undefined if there is nothing. One flush at a time. */
  freeze(): EntryRun[] | undefined {
    if (this.#frozen.length > 0) throw new Error('a flush of this collection is under way');
    if (this.#active.length === 0) return undefined;
    this.#frozen = this.#active;
    this.#active = [];
    return this.#frozen.map((chunk) => chunk.runFrom(0));
  }

  /** The frozen entries stand in a segment now. */
  dropFrozen(): void {
    this.#release(this.#frozen);
    this.#frozen = [];
  }

  /** The flush failed: what was frozen is ordinary memory again. */
  thaw(): void {
    this.#active = [...this.#frozen, ...this.#active];
    this.#frozen = [];
  }

  /** Frees the chunks that lie wholly at or below `sequence`, but none that a flush is reading. */
  trim(sequence: number): void {
    if (this.#frozen.length > 0) return;
    const kept = this.#active.findIndex((chunk) => chunk.last > sequence);
    this.#release(this.#active.splice(0, kept < 0 ? this.#active.length : kept));
  }

  /** Frees everything: the collection is dropped. */
  clear(): void {
    this.#release(this.#frozen);
    this.#release(this.#active);
    this.#frozen = [];
    this.#active = [];
  }

  /** Runs with the entries at or above `from`, in order; views, valid as long as they are referenced. */
  *runsFrom(from: number): Generator<EntryRun> {
    for (const chunks of [this.#frozen, this.#active]) {
      for (const chunk of chunks) if (chunk.last >= from) yield chunk.runFrom(from);
    }
  }

  /** Whether the sequences that both hold have the same bytes in both (E22). */
  agreesWith(other: CollectionMemory): boolean {
    const from = Math.max(this.first ?? 0, other.first ?? 0);
    return startAlike(this.runsFrom(from), other.runsFrom(from));
  }

  #release(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      this.usedBytes -= chunk.usedBytes;
      this.capacityBytes -= chunk.capacityBytes;
    }
  }
}

/** Whether the bytes of two rows of runs are the same up to the end of the shorter one. */
function startAlike(one: Iterator<EntryRun>, other: Iterator<EntryRun>): boolean {
  let left = Buffer.alloc(0);
  let right = left;
  for (;;) {
    if (left.length === 0) left = one.next().value?.bytes ?? left;
    if (right.length === 0) right = other.next().value?.bytes ?? right;
    const common = Math.min(left.length, right.length);
    if (common === 0) return true;
    if (left.compare(right, 0, common, 0, common) !== 0) return false;
    left = left.subarray(common);
    right = right.subarray(common);
  }
}
