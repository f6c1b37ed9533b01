/**
 * Reads plan on a snapshot of a collection: its segments, kept from deletion until the read is done, and views of its
 * memory (E15). Waiters are woken by publication.
 */
import { systemCode, WalError } from '../errors.ts';
import type { Collection } from './collection.ts';
import { decodeEntry, skipEntry } from './entry.ts';
import type { EntryRun } from './memory.ts';
import { encodeSegment } from './segment.ts';
import { cutRun, type SegmentFile } from './segment-file.ts';
import type { ReadOptions, WalEntry } from './wal.ts';

/** The entries at or above `from`; undefined when the wait timed out or was given up. */
export async function readEntries(
  collection: Collection,
  from: number,
  options: ReadOptions,
): Promise<WalEntry[] | undefined> {
  const position = startOf(collection, from);
  if (position > collection.published) {
    if (options.blockMs === undefined) return [];
    const isThere = await waitFor(collection, position, options.blockMs, options.signal);
    if (!isThere) return undefined;
  }
  const entries: WalEntry[] = [];
  let bytes = 0;
  for await (const run of runsOf(collection, position, options.bytes)) {
    let at = 0;
    while (at < run.bytes.length) {
      const { entry, end } = decodeEntry(run.bytes, at);
      if (entries.length > 0 && bytes + end - at > options.bytes) return entries;
      entries.push(entry);
      bytes += end - at;
      at = end;
      if (entries.length === options.count) return entries;
    }
  }
  return entries;
}

/** An Avro object container file with the entries at or above `from`, about `bytes` of them: encoded bytes are reused. */
export async function exportEntries(collection: Collection, from: number, bytes: number): Promise<Buffer> {
  const runs: EntryRun[] = [];
  let left = bytes;
  for await (const run of runsOf(collection, startOf(collection, from), bytes)) {
    const kept = fitRun(run, left, runs.length === 0);
    if (kept.count > 0) runs.push(kept);
    left -= kept.bytes.length;
    if (kept.count < run.count) break;
  }
  const { name, incarnation, checkpoint } = collection;
  return Buffer.concat(await encodeSegment({ collection: name, incarnation, checkpoint }, 'none', runs));
}

/** Encoded bytes of the entries `from` … `to`, all published. Reads only segments that the range cuts. Throws as a read does. */
export async function measureEntries(collection: Collection, from: number, to: number): Promise<number> {
  let bytes = 0;
  let position = from;
  const held = memoryRuns(collection, from, Number.POSITIVE_INFINITY);
  for (const segment of collection.segments) {
    const { first, last } = segment.range;
    if (last < position || first > to) continue;
    bytes +=
      first >= position && last <= to ? segment.encodedBytes : await measureCut(collection, segment, position, to);
    position = last + 1;
  }
  for (const run of held) {
    if (run.first > to || run.first + run.count <= position) continue;
    bytes += measureRun(cutRun(run, position), to);
  }
  return bytes;
}

async function measureCut(collection: Collection, segment: SegmentFile, from: number, to: number): Promise<number> {
  let bytes = 0;
  segment.retain();
  try {
    for await (const run of segmentRuns(collection, segment, from)) {
      if (run.first > to) break;
      bytes += measureRun(run, to);
    }
  } finally {
    segment.release();
  }
  return bytes;
}

function measureRun(run: EntryRun, to: number): number {
  return run.first + run.count - 1 <= to ? run.bytes.length : run.bytes.length - cutRun(run, to + 1).bytes.length;
}

function startOf(collection: Collection, from: number): number {
  if (collection.damage !== '') throw new WalError('DAMAGED', collection.damage);
  const { checkpoint } = collection;
  if (from === 0) return checkpoint + 1;
  if (from > checkpoint) return from;
  const remedy = `read from ${checkpoint + 1}, or from 0 for the first entry kept`;
  throw new WalError('TRIMMED', `sequence ${from} is at or below the checkpoint ${checkpoint}; ${remedy}`);
}

/** Resolves with true when an entry at or above `from` is there, false on time-out; NOTFOUND when the collection is dropped. */
async function waitFor(
  collection: Collection,
  from: number,
  blockMs: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  await new Promise<void>((resolve) => {
    const waiter = { from, wake: () => finish() };
    const timer = blockMs === 0 ? undefined : setTimeout(() => finish(), blockMs);
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      collection.waiters.delete(waiter);
      resolve();
    };
    collection.waiters.add(waiter);
    if (signal?.aborted) finish();
    else signal?.addEventListener('abort', finish);
  });
  if (collection.isDropping) {
    throw new WalError('NOTFOUND', `the collection ${JSON.stringify(collection.name)} was dropped meanwhile`);
  }
  return collection.published >= from;
}

/** The runs at or above `from`, about `bytes` of them (at least one if there is one). */
async function* runsOf(collection: Collection, from: number, bytes: number): AsyncGenerator<EntryRun> {
  const segments = collection.segments.filter((segment) => segment.range.last >= from);
  const held = memoryRuns(collection, from, bytes);
  for (const segment of segments) segment.retain();
  try {
    let position = from;
    for (const segment of segments) {
      if (segment.range.last < position) continue;
      for await (const run of segmentRuns(collection, segment, position)) {
        yield run;
        position = run.first + run.count;
      }
    }
    for (const run of held) {
      if (run.first + run.count <= position) continue;
      yield cutRun(run, position);
    }
  } finally {
    for (const segment of segments) segment.release();
  }
}

/** Views of memory, enough for `bytes` even if no segment has any of it. */
function memoryRuns(collection: Collection, from: number, bytes: number): EntryRun[] {
  const runs: EntryRun[] = [];
  let held = 0;
  for (const run of collection.memory.runsFrom(from)) {
    runs.push(run);
    held += run.bytes.length;
    if (held > bytes) break;
  }
  return runs;
}

async function* segmentRuns(collection: Collection, segment: SegmentFile, from: number): AsyncGenerator<EntryRun> {
  try {
    yield* segment.runsFrom(from);
  } catch (error) {
    if (error instanceof WalError) throw error;
    const code = systemCode(error) === 'ENOENT' ? 'DAMAGED' : 'UNAVAILABLE';
    const reason = error instanceof Error ? error.message : String(error);
    const file = `${collection.home.managed.url}/${segment.path}`;
    throw new WalError(code, `segment ${file} cannot be read: ${reason}; restore it or the disk`, { cause: error });
  }
}

/** As much of a run as fits into `bytes`; at least its first entry if `atLeastOne`. */
function fitRun(run: EntryRun, bytes: number, atLeastOne: boolean): EntryRun {
  if (run.bytes.length <= bytes) return run;
  let end = 0;
  let count = 0;
  while (end < run.bytes.length) {
    const next = skipEntry(run.bytes, end);
    if (next > bytes && !(atLeastOne && count === 0)) break;
    end = next;
    count++;
  }
  return { first: run.first, count, bytes: run.bytes.subarray(0, end) };
}
