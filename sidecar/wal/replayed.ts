/**
 * What one URL's journal tells about its collections: the entries that stand in no segment, state and drop records, and what
 * was lost to damage (E20–E22). Filled by `replayJournal`, judged when all URLs are read.
 */
import type { FrameBatch, FrameHeader } from '../journal/frame.ts';
import type { JournalDamage, ReplayHandler } from '../journal/replay.ts';
import { skipEntry } from './entry.ts';
import { CollectionMemory, type EntryRun } from './memory.ts';

export interface SequenceRange {
  readonly first: number;
  readonly last: number;
}

export class ReplayedCollection {
  readonly name: string;
  readonly incarnation: string;
  /** Unflushed entries, each part without gaps, parts in the order in which they were found. */
  readonly parts: CollectionMemory[] = [];
  /** Above every sequence seen, in entries or state records. */
  nextSequence = 1;
  checkpoint = 0;
  damage = '';
  /** The damage, or an earlier one, stands in a state record: it was found before this start. */
  isDamageKnown = false;
  /** Ranges whose bodies are damaged. */
  readonly lost: SequenceRange[] = [];
  /** Seen after the last damage of unknown extent: if no gap shows, nothing of this collection was lost there. */
  seenAfterDamage = true;

  constructor(name: string, incarnation: string) {
    this.name = name;
    this.incarnation = incarnation;
  }

  /** Takes a run that may repeat what is held (E22). The bytes are copied. */
  add(run: EntryRun): void {
    const held = this.parts.find((part) => run.first >= (part.first ?? 0) && run.first <= (part.last ?? -1) + 1);
    if (held === undefined) {
      const part = new CollectionMemory();
      part.append(run);
      this.parts.push(part);
      return;
    }
    const fresh = this.#compare(held, run);
    if (fresh !== undefined) held.append(fresh);
  }

  /** The part of `run` beyond what is held; damage if the entries both hold differ. */
  #compare(held: CollectionMemory, run: EntryRun): EntryRun | undefined {
    const heldLast = held.last ?? 0;
    if (run.first > heldLast) return run;
    const common = Math.min(heldLast, run.first + run.count - 1) - run.first + 1;
    let end = 0;
    for (let left = common; left > 0; left--) end = skipEntry(run.bytes, end);
    const before = Buffer.concat([...held.runsFrom(run.first)].map((part) => part.bytes));
    if (before.compare(run.bytes, 0, end, 0, Math.min(end, before.length)) !== 0) {
      this.damage ||= `two different entries have sequence ${run.first} or one of the next ${common - 1} in the journal`;
    }
    if (common === run.count) return undefined;
    return { first: run.first + common, count: run.count - common, bytes: run.bytes.subarray(end) };
  }
}

export class ReplayedJournal implements ReplayHandler {
  /** By incarnation. */
  readonly collections = new Map<string, ReplayedCollection>();
  /** Dropped incarnations with their names. */
  readonly drops = new Map<string, string>();
  /** There was damage of which nobody knows whom it hit. */
  unknownDamage: JournalDamage | undefined;
  /** Whether segments hold all of a range. */
  readonly isStored: (incarnation: string, range: SequenceRange) => boolean;

  /** `isStored` tells whether segments hold all of a range: such entries are not kept. */
  constructor(isStored: (incarnation: string, range: SequenceRange) => boolean) {
    this.isStored = isStored;
  }

  frame(header: FrameHeader, body: Buffer | undefined): void {
    const positions = header.collections.map((collection) => collection.first);
    let offset = 0;
    for (const batch of body === undefined ? [] : header.batches) {
      this.#takeBatch(header, batch, body?.subarray(offset, offset + batch.bytes) ?? Buffer.alloc(0), positions);
      offset += batch.bytes;
    }
    for (const record of header.records) {
      const collection = header.collections[record.collection];
      if (collection === undefined) continue;
      if (record.kind === 'drop') {
        this.drops.set(collection.incarnation, collection.name);
        this.collections.delete(collection.incarnation);
      } else if (record.kind === 'state' && !this.drops.has(collection.incarnation)) {
        const known = this.#collection(collection.name, collection.incarnation);
        known.checkpoint = Math.max(known.checkpoint, record.checkpoint);
        known.nextSequence = Math.max(known.nextSequence, record.nextSequence);
        known.damage ||= record.damage;
        known.isDamageKnown ||= record.damage !== '';
      }
    }
  }

  damage(damage: JournalDamage): void {
    if (damage.collections === undefined) {
      this.unknownDamage = damage;
      for (const collection of this.collections.values()) collection.seenAfterDamage = false;
      return;
    }
    for (const { name, incarnation, first, last } of damage.collections) {
      if (this.drops.has(incarnation) || last < first) continue;
      const collection = this.#collection(name, incarnation);
      collection.lost.push({ first, last });
      collection.nextSequence = Math.max(collection.nextSequence, last + 1);
    }
  }

  #takeBatch(header: FrameHeader, batch: FrameBatch, bytes: Buffer, positions: number[]): void {
    const collection = header.collections[batch.collection];
    const first = positions[batch.collection];
    if (collection === undefined || first === undefined || this.drops.has(collection.incarnation)) return;
    const last = first + batch.entries - 1;
    positions[batch.collection] = last + 1;
    const known = this.#collection(collection.name, collection.incarnation);
    known.nextSequence = Math.max(known.nextSequence, last + 1);
    if (this.isStored(collection.incarnation, { first, last })) return;
    known.add({ first, count: batch.entries, bytes });
  }

  #collection(name: string, incarnation: string): ReplayedCollection {
    let known = this.collections.get(incarnation);
    if (known === undefined) {
      known = new ReplayedCollection(name, incarnation);
      this.collections.set(incarnation, known);
    }
    known.seenAfterDamage = true;
    return known;
  }
}
