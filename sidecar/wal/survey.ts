/**
 * What one URL's directories hold, listed at the start: segments by their names and sizes, with what their headers say (E16). A
 * directory's content counts only after the directory and its parent were synced by this process (E17).
 */
import { collectionFileName } from '../assignment/collection-file.ts';
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
    shelves.push(...(await Promise.all(some.map((found) => surveyDirectory(storage, found)))));
    onProgress();
  }
  return { shelves, discovery };
}

async function surveyDirectory(storage: Storage, found: Found): Promise<Shelf> {
  const files = await storage.listFiles(found.directory);
  const leftovers = files.filter((file) => isTemporaryName(file.name)).map((file) => file.name);
  if (leftovers.length > 0) await storage.remove(found.directory, leftovers);
  const segments: SurveyedSegment[] = [];
  for (const { name, bytes } of files) {
    const range = parseSegmentName(name);
    if (range === undefined) continue;
    const file = new SegmentFile(storage, found.directory, range, bytes, bytes);
    const header = await file.header().catch(() => undefined);
    if (header !== undefined) file.encodedBytes = header.blocks.reduce((sum, block) => sum + block.encodedBytes, 0);
    segments.push({ file, header });
  }
  const isKnown = segments.length > 0 || files.some((file) => file.name === collectionFileName);
  if (isKnown) await storage.syncDirectory(found.directory);
  segments.sort((a, b) => a.file.range.first - b.file.range.first || a.file.range.last - b.file.range.last);
  return { ...found, segments };
}

/**
 * Splits segments of one incarnation into those that count and those that are void (E11): one whose range lies inside another's,
 * and an entry-free one beside one that reaches its `<next>`, or beside a later entry-free one.
 */
export function separateVoid(segments: readonly SurveyedSegment[]): {
  live: SurveyedSegment[];
  dead: SurveyedSegment[];
} {
  const live: SurveyedSegment[] = [];
  const dead: SurveyedSegment[] = [];
  for (const segment of segments) {
    const isVoid = segments.some((other) => other !== segment && makesVoid(other, segment, segments));
    (isVoid ? dead : live).push(segment);
  }
  return { live, dead };
}

function makesVoid(other: SurveyedSegment, segment: SurveyedSegment, all: readonly SurveyedSegment[]): boolean {
  const [a, b] = [other.file.range, segment.file.range];
  if (isEntryFree(segment)) return isEntryFree(other) ? a.first > b.first : a.last >= b.first;
  if (isEntryFree(other)) return false;
  const isSame = a.first === b.first && a.last === b.last;
  // Of two equal ones (the incarnation under two URLs) the first counts.
  if (isSame) return all.indexOf(other) < all.indexOf(segment);
  return a.first <= b.first && b.last <= a.last;
}

function isEntryFree(segment: SurveyedSegment): boolean {
  return segment.file.range.last < segment.file.range.first;
}
