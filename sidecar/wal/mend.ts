/**
 * Before the old journal goes: entries that only it still holds, and that stood in a segment which is gone or cannot be read, are
 * written into a segment again. Without that they would have no place: memory stands above all segments (merge.ts).
 *
 *   segments   [1–50]  [51–100 unreadable]  [101–150]
 *   journal              51 … … … … … … … … … … … … … 180
 *   mended     [1–50]  [51–100 anew]        [101–150]         memory 151–180
 */
import { asWalError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';
import type { CollectionMemory, EntryRun } from './memory.ts';
import type { SequenceRange } from './replayed.ts';
import { cutRun, publishSegment } from './segment-file.ts';
import { isEntryFree, type SurveyedSegment, separateVoid } from './survey.ts';

export interface MendRequest {
  readonly collection: string;
  readonly incarnation: string;
  /** Where the new segments go. */
  readonly storage: Storage;
  readonly directory: string;
  readonly segments: readonly SurveyedSegment[];
  /** What the journals hold beyond readable segments. */
  readonly parts: readonly CollectionMemory[];
  readonly checkpoint: number;
}

/** The segments written, durable, in place of those of the same name. Rejects with UNAVAILABLE or the system's error. */
export async function mendSegments(request: MendRequest): Promise<SurveyedSegment[]> {
  const mended: SurveyedSegment[] = [];
  for (const range of missingRanges(request)) {
    const part = request.parts.find(({ first, last }) => (first ?? 0) <= range.first && range.last <= (last ?? -1));
    if (part?.first !== undefined) mended.push(await writeSegment(request, range, part));
  }
  return mended;
}

/** What no readable segment holds, below one that can be read, or in one that cannot. */
function missingRanges({ segments, checkpoint }: MendRequest): SequenceRange[] {
  const { live } = separateVoid(segments.filter((segment) => !isEntryFree(segment)));
  const readable = live.filter(({ header }) => header !== undefined);
  const top = readable.reduce((last, { file }) => Math.max(last, file.range.last), 0);
  const missing: SequenceRange[] = [];
  let next = checkpoint + 1;
  for (const { file } of readable.toSorted((a, b) => a.file.range.first - b.file.range.first)) {
    const { first, last } = file.range;
    if (first > next) missing.push({ first: next, last: first - 1 });
    next = Math.max(next, last + 1);
  }
  for (const { file, header } of live) {
    if (header === undefined && file.range.first > top) missing.push(file.range);
  }
  return missing;
}

async function writeSegment(
  request: MendRequest,
  { first, last }: SequenceRange,
  part: CollectionMemory,
): Promise<SurveyedSegment> {
  const { collection, incarnation, storage, directory } = request;
  const runs = Array.from(part.runsFrom(first), (run) => cutEnd(cutRun(run, first), last)).filter(
    ({ count }) => count > 0,
  );
  const metadata = { collection, incarnation, checkpoint: 0 };
  await storage.createDirectory(directory);
  const file = await publishSegment(storage, directory, { first, last }, metadata, 'none', runs);
  try {
    return { file, header: await file.header() };
  } catch (error) {
    throw asWalError(error, 'UNAVAILABLE', `${storage.url}/${file.path} was written, and cannot be read`);
  }
}

/** The part of a run at or below `last`. */
function cutEnd(run: EntryRun, last: number): EntryRun {
  const count = Math.max(0, Math.min(run.count, last - run.first + 1));
  if (count === run.count) return run;
  const behind = count === 0 ? run.bytes.length : cutRun(run, last + 1).bytes.length;
  return { first: run.first, count, bytes: run.bytes.subarray(0, run.bytes.length - behind) };
}
