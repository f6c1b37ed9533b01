/**
 * From what all URLs hold of one incarnation to its state (E20–E23): pure, but for the memory it hands over.
 */
import type { Committer } from './committer.ts';
import { CollectionMemory } from './memory.ts';
import type { ReplayedCollection, SequenceRange } from './replayed.ts';
import { cutRun } from './segment-file.ts';
import { byRange, isEntryFree, type Shelf, type SurveyedSegment, separateVoid } from './survey.ts';

/** What one URL has of an incarnation. */
export interface Trace {
  readonly committer: Committer;
  /** Its directory there, if there is one. */
  readonly shelf: Shelf | undefined;
  readonly segments: readonly SurveyedSegment[];
  readonly replayed: ReplayedCollection | undefined;
  /** Why nobody knows whether entries of it were lost in this URL's journal; empty if that is known. */
  readonly doubt: string;
}

export interface MergedIncarnation {
  readonly home: Committer;
  readonly memory: CollectionMemory;
  readonly segments: SurveyedSegment[];
  readonly voidSegments: SurveyedSegment[];
  readonly checkpoint: number;
  readonly published: number;
  readonly damage: string;
}

/** Whether the incarnation ever had an entry, as far as is found. */
export function hadEntries(traces: readonly Trace[]): boolean {
  return traces.some((trace) => trace.segments.length > 0 || (trace.replayed?.nextSequence ?? 1) > 1);
}

/** Merges the traces of one incarnation; there is at least one. */
export function mergeTraces(traces: readonly Trace[]): MergedIncarnation {
  const { live, dead } = separateVoid(traces.flatMap((trace) => trace.segments).toSorted(byRange));
  const replayed = traces.flatMap((trace) => trace.replayed ?? []);
  const checkpoint = checkpointOf(live, replayed);
  // An entry-free segment that was not believed is some other file: it stays where it is, and counts for nothing.
  const segments = live.filter((segment) => !isEntryFree(segment) || segment.file.range.last <= checkpoint);
  const cover = new Cover(checkpoint, segments, replayed);
  const published = Math.max(cover.last, ...replayed.map((known) => known.nextSequence - 1));
  return {
    home: homeOf(traces),
    memory: cover.memory,
    segments,
    voidSegments: dead,
    checkpoint: Math.min(checkpoint, published),
    published,
    damage: damageOf(traces, cover, checkpoint, published),
  };
}

function checkpointOf(segments: readonly SurveyedSegment[], replayed: readonly ReplayedCollection[]): number {
  let proven = 0;
  let entryMin = Number.POSITIVE_INFINITY;
  for (const { checkpoint, parts } of replayed) {
    proven = Math.max(proven, checkpoint);
    for (const part of parts) entryMin = Math.min(entryMin, part.first ?? entryMin);
  }
  for (const segment of segments) {
    proven = Math.max(proven, segment.header?.checkpoint ?? 0);
    if (!isEntryFree(segment)) entryMin = Math.min(entryMin, segment.file.range.first);
  }
  // An entry-free segment that cannot be read says by its name that all before it was trimmed: believed only where nothing
  // that it would trim is there. (A first segment proves as much only where its header can be read: else it is a gap.)
  const named = segments.filter((segment) => isEntryFree(segment) && segment.header === undefined);
  return named.reduce((checkpoint, { file: { range } }) => {
    return entryMin <= range.last && range.last > proven ? checkpoint : Math.max(checkpoint, range.last);
  }, proven);
}

/**
 * The entries above the checkpoint that are there without a gap: in segments, and after the last of those in memory. What segments
 * have is not taken from the journal, although a batch there may begin before one and end in it.
 */
class Cover {
  last: number;
  gap: SequenceRange | undefined;
  /** Two journals, or two parts of one, have different entries under one sequence. */
  isContradictory = false;
  readonly memory = new CollectionMemory();
  readonly #ranges: SequenceRange[] = [];

  constructor(checkpoint: number, segments: readonly SurveyedSegment[], replayed: readonly ReplayedCollection[]) {
    this.last = checkpoint;
    for (const { file } of segments) this.#extend(file.range.first, file.range.last);
    const parts = replayed.flatMap((known) => known.parts);
    parts.sort((a, b) => (a.first ?? 0) - (b.first ?? 0) || (b.last ?? 0) - (a.last ?? 0));
    for (const part of parts) this.#take(part);
  }

  /** Whether every sequence of the range stands somewhere. */
  holds(range: SequenceRange): boolean {
    let next = range.first;
    for (const { first, last } of this.#ranges.toSorted((a, b) => a.first - b.first)) {
      if (first <= next && last >= next) next = last + 1;
    }
    return next > range.last;
  }

  /** Goes on to the end of a range; whether that is beyond what was covered. */
  #extend(first: number, last: number): boolean {
    this.#ranges.push({ first, last });
    if (last <= this.last) return false;
    if (first > this.last + 1) this.gap ??= { first: this.last + 1, last: first - 1 };
    this.last = last;
    return true;
  }

  #take(part: CollectionMemory): void {
    if (part.first === undefined || part.last === undefined) return;
    if (!this.memory.agreesWith(part)) this.isContradictory = true;
    const from = this.last + 1;
    if (!this.#extend(part.first, part.last)) return;
    // Memory has no gaps: what stands behind one is left to a repair.
    if (!this.memory.isEmpty && (this.memory.last !== from - 1 || part.first > from)) return;
    for (const run of part.runsFrom(from)) this.memory.append(cutRun(run, from));
  }
}

function damageOf(traces: readonly Trace[], cover: Cover, checkpoint: number, published: number): string {
  // Damage stays in the state record (E21): putting files back after it was found does not end it.
  const remedy = 'copy what is left if it is needed, then drop the collection';
  for (const { replayed, doubt, committer } of traces) {
    const { url } = committer.managed;
    if (replayed?.damage) return replayed.damage;
    for (const lost of replayed?.lost ?? []) {
      if (lost.last <= checkpoint || cover.holds({ first: Math.max(lost.first, checkpoint + 1), last: lost.last }))
        continue;
      return `entries ${lost.first} to ${lost.last} are lost to damage in the journal of ${url}; ${remedy}`;
    }
    if (doubt !== '' && !replayed?.seenAfterDamage) return `${doubt}; ${remedy}`;
  }
  const url = homeOf(traces).managed.url;
  if (cover.isContradictory)
    return `two different entries have one sequence in the journals of ${urlsOf(traces)}; ${remedy}`;
  if (cover.gap !== undefined) {
    return `entries ${cover.gap.first} to ${cover.gap.last} are missing under ${url}; ${remedy}`;
  }
  if (cover.last < published) return `entries ${cover.last + 1} to ${published} are missing under ${url}; ${remedy}`;
  return '';
}

function urlsOf(traces: readonly Trace[]): string {
  return traces.map((trace) => trace.committer.managed.url).join(', ');
}

/** E23: the URL with the highest sequence; of equal ones the first that has a directory, in configuration order. */
function homeOf(traces: readonly Trace[]): Committer {
  const highest = ({ replayed, segments }: Trace): number =>
    segments.reduce((last, { file }) => Math.max(last, file.range.last), (replayed?.nextSequence ?? 1) - 1);
  const sorted = traces.toSorted(
    (a, b) =>
      highest(b) - highest(a) ||
      Number(b.shelf !== undefined) - Number(a.shelf !== undefined) ||
      a.committer.managed.index - b.committer.managed.index,
  );
  const [first] = sorted;
  if (first === undefined) throw new Error('an incarnation without a trace');
  return first.committer;
}
