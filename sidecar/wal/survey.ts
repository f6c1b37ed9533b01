/**
 * What one URL's directories hold, listed at the start: segments by their names and sizes, with what their headers say (E16). A
 * directory's content counts only after the directory and its parent were synced by this process (E17).
 */
import { collectionFileName } from '../assignment/collection-file.ts';
import { escapeCollection } from '../assignment/directory-name.ts';
import { type Discovery, discover, type Found } from '../assignment/discovery.ts';
import { isTemporaryName } from '../storage/file.ts';
import type { Storage } from '../storage/storage.ts';
import { parseSegmentName, type SegmentHeader } from './segment.ts';
import { SegmentFile } from './segment-file.ts';

const directoriesAtOnce = 16;

export interface SurveyedSegment {
  readonly file: SegmentFile;
  /** Undefined where it can't be read: the damage shows at a read, and in `verify`. */
  readonly header: SegmentHeader | undefined;
}

/** A collection's directory at one URL. */
export interface Shelf extends Found {
  readonly segments: SurveyedSegment[];
}

export interface Survey {
  readonly shelves: Shelf[];
  readonly discovery: Discovery;
}

/** Lists a URL; leftovers of interrupted writes are removed. `onProgress` is called as it goes on. */
export async function surveyUrl(storage: Storage, onProgress: () => void): Promise<Survey> {
  const discovery = await discover(storage);
  await storage.remove('', discovery.temporary);
  onProgress();
  const shelves: Shelf[] = [];
  for (let start = 0; start < discovery.collections.length; start += directoriesAtOnce) {
    const some = discovery.collections.slice(start, start + directoriesAtOnce);
    shelves.push(...(await Promise.all(some.map((found) => surveyDirectory(storage, found, discovery.foreign)))));
    onProgress();
  }
  return { shelves, discovery };
}

/** Segments of another collection, which somebody copied here, are none of this one's: they go to `foreign`. */
async function surveyDirectory(storage: Storage, found: Found, foreign: string[]): Promise<Shelf> {
  const files = await storage.listFiles(found.directory);
  const leftovers = files.filter((file) => isTemporaryName(file.name)).map((file) => file.name);
  if (leftovers.length > 0) await storage.remove(found.directory, leftovers);
  const segments: SurveyedSegment[] = [];
  for (const { name, bytes } of files) {
    const range = parseSegmentName(name);
    if (range === undefined) continue;
    const file = new SegmentFile(storage, found.directory, range, bytes, bytes);
    const header = await file.header().catch(() => undefined);
    if (header !== undefined && escapeCollection(header.collection) !== found.directory) {
      foreign.push(`${found.directory}/${name}`);
      continue;
    }
    if (header !== undefined) file.encodedBytes = header.blocks.reduce((sum, block) => sum + block.encodedBytes, 0);
    segments.push({ file, header });
  }
  const isKnown = segments.length > 0 || files.some((file) => file.name === collectionFileName);
  if (isKnown) await storage.syncDirectory(found.directory);
  segments.sort(byRange);
  return { ...found, segments };
}

/**
 * Splits segments of one incarnation into those that count and those that are void (E11): one whose range lies inside another's,
 * and an entry-free one beside one that reaches its `<next>`, or beside a later entry-free one. One that cannot be read proves
 * nothing: it makes no other void (its name alone could cost good entries), and is void itself where others hold its whole range.
 * Costs little more than sorting: a collection may have many thousands.
 */
export function separateVoid(segments: readonly SurveyedSegment[]): {
  live: SurveyedSegment[];
  dead: SurveyedSegment[];
} {
  const readable = segments.filter(({ header }) => header !== undefined);
  const filled = readable.filter((segment) => !isEntryFree(segment));
  // Of two equal ones (the incarnation under two URLs) the first counts: sorting keeps their order.
  filled.sort(({ file: { range: a } }, { file: { range: b } }) => a.first - b.first || b.last - a.last);
  const lastEntry = filled.reduce((last, { file }) => Math.max(last, file.range.last), 0);
  const nextMax = readable.filter(isEntryFree).reduce((next, { file }) => Math.max(next, file.range.first), 0);
  const inside = insideOthers(filled);
  const covered = joined(filled);
  const isVoid = (segment: SurveyedSegment): boolean => {
    const { first, last } = segment.file.range;
    if (isEntryFree(segment)) return lastEntry >= first || nextMax > first;
    if (segment.header !== undefined) return inside.has(segment);
    return covered.some((range) => range.first <= first && last <= range.last);
  };
  const dead = new Set(segments.filter(isVoid));
  return { live: segments.filter((segment) => !dead.has(segment)), dead: [...dead] };
}

/** Those whose range lies inside that of another one; sorted by first sequence, the longer one first. */
function insideOthers(sorted: readonly SurveyedSegment[]): Set<SurveyedSegment> {
  const inside = new Set<SurveyedSegment>();
  let reached = 0;
  for (const segment of sorted) {
    const { last } = segment.file.range;
    if (last <= reached) inside.add(segment);
    reached = Math.max(reached, last);
  }
  return inside;
}

/** The sequences that sorted segments hold, as ranges with gaps between them. */
function joined(sorted: readonly SurveyedSegment[]): { first: number; last: number }[] {
  const ranges: { first: number; last: number }[] = [];
  for (const { file } of sorted) {
    const { first, last } = file.range;
    const range = ranges.at(-1);
    if (range === undefined || first > range.last + 1) ranges.push({ first, last });
    else range.last = Math.max(range.last, last);
  }
  return ranges;
}

/** Orders segments by their first sequence, then by their last. */
export function byRange(a: SurveyedSegment, b: SurveyedSegment): number {
  return a.file.range.first - b.file.range.first || a.file.range.last - b.file.range.last;
}

/** Whether it holds no entry, by its name. */
export function isEntryFree(segment: SurveyedSegment): boolean {
  return segment.file.range.last < segment.file.range.first;
}
