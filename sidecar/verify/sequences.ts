/**
 * Each collection's sequences over all WAL URLs, journals and segments together: from the checkpoint on, without a gap,
 * up to the last one that a state record knows (E22). A name has one undropped incarnation that ever had an entry.
 */
import type { Finding } from './finding.ts';

export interface SequenceRange {
  readonly name: string;
  readonly incarnation: string;
  readonly url: string;
  readonly first: number;
  /** first − 1: no entries. */
  readonly last: number;
}

export interface CollectionState {
  readonly name: string;
  readonly incarnation: string;
  /** 0 where nothing is said of it. */
  readonly nextSequence: number;
  readonly checkpoint: number;
  /** A sentence, empty if there is none. */
  readonly damage: string;
}

interface Incarnation {
  readonly name: string;
  readonly incarnation: string;
  readonly ranges: { first: number; last: number }[];
  readonly urls: Set<string>;
  nextSequence: number;
  checkpoint: number;
  damage: string;
}

export class Sequences {
  readonly #incarnations = new Map<string, Incarnation>();
  readonly #dropped = new Set<string>();

  /** Entries that were found. */
  add({ name, incarnation, url, first, last }: SequenceRange): void {
    const known = this.#incarnation(name, incarnation);
    known.urls.add(url);
    if (first <= last) this.#lengthen(known, { first, last });
  }

  /** What a record says. The highest of several counts. */
  state({ name, incarnation, nextSequence, checkpoint, damage }: CollectionState): void {
    const known = this.#incarnation(name, incarnation);
    known.nextSequence = Math.max(known.nextSequence, nextSequence);
    known.checkpoint = Math.max(known.checkpoint, checkpoint);
    if (damage !== '') known.damage = damage;
  }

  drop(incarnation: string): void {
    this.#dropped.add(incarnation);
  }

  /** Adds what another one knows, which is not to be used afterwards. */
  merge(other: Sequences): void {
    for (const { urls, ranges, ...known } of other.#incarnations.values()) {
      this.state(known);
      for (const url of urls) this.add({ ...known, url, first: 0, last: -1 });
      for (const range of ranges) this.#lengthen(this.#incarnation(known.name, known.incarnation), range);
    }
    for (const incarnation of other.#dropped) this.#dropped.add(incarnation);
  }

  findings(): Finding[] {
    const live = [...this.#incarnations.values()].filter(({ incarnation }) => !this.#dropped.has(incarnation));
    return [...live.flatMap(judge), ...rivals(live)];
  }

  /** Frames come in order: most of them lengthen the last range. */
  #lengthen({ ranges }: Incarnation, { first, last }: { first: number; last: number }): void {
    const before = ranges.at(-1);
    if (before === undefined || first < before.first || first > before.last + 1) ranges.push({ first, last });
    else before.last = Math.max(before.last, last);
  }

  #incarnation(name: string, incarnation: string): Incarnation {
    let known = this.#incarnations.get(incarnation);
    if (known === undefined) {
      known = { name, incarnation, ranges: [], urls: new Set(), nextSequence: 0, checkpoint: 0, damage: '' };
      this.#incarnations.set(incarnation, known);
    }
    return known;
  }
}

function judge(collection: Incarnation): Finding[] {
  const where = `collection ${JSON.stringify(collection.name)}`;
  if (collection.damage !== '') {
    const problem = `is DAMAGED, as its last recovery found: ${collection.damage}`;
    return [{ level: 'wrong', where, problem, remedy: 'restore its files from a copy, or drop it' }];
  }
  const gap = firstGap(collection);
  if (gap === undefined) return [];
  const held = collection.urls.size === 0 ? '' : ` (it lives at ${[...collection.urls].toSorted().join(', ')})`;
  const problem = `lacks the entries ${gap.first} to ${gap.last}: they are in no segment and no journal${held}`;
  return [{ level: 'wrong', where, problem, remedy: 'restore the missing files from a copy, or drop it' }];
}

/** The first entries that must be there, above the checkpoint, and are not. */
function firstGap({ ranges, checkpoint, nextSequence }: Incarnation): { first: number; last: number } | undefined {
  let expected = checkpoint + 1;
  for (const { first, last } of ranges.toSorted((one, other) => one.first - other.first)) {
    if (last < expected) continue;
    if (first > expected) return { first: expected, last: first - 1 };
    expected = last + 1;
  }
  return expected < nextSequence ? { first: expected, last: nextSequence - 1 } : undefined;
}

/** Names with more than one undropped incarnation that ever had an entry (E22). */
function rivals(live: readonly Incarnation[]): Finding[] {
  const used = live.filter(({ ranges, nextSequence }) => ranges.length > 0 || nextSequence > 1);
  return [...Map.groupBy(used, ({ name }) => name)].flatMap(([name, all]): Finding[] => {
    if (all.length === 1) return [];
    // The URLs are read side by side, so that they were found in any order.
    const places = all
      .map(({ incarnation, urls }) => `${incarnation} at ${[...urls].toSorted().join(', ')}`)
      .toSorted();
    const problem = `has ${all.length} incarnations that were never dropped: ${places.join('; ')}`;
    const remedy = 'take the directory of the one that is not wanted away, or drop the collection';
    return [{ level: 'wrong', where: `collection ${JSON.stringify(name)}`, problem, remedy }];
  });
}
