/** A segment that lies in storage: reading it, and keeping it until its last reader is done (E15). */
import type { Compression } from '../config/configuration.ts';
import { partsBytes } from '../storage/parts.ts';
import type { Storage, StoredReader } from '../storage/storage.ts';
import { entrySequence, skipEntry } from './entry.ts';
import type { EntryRun } from './memory.ts';
import {
  decodeSegmentHeader,
  encodeSegment,
  openBlock,
  type SegmentHeader,
  type SegmentMetadata,
  type SegmentName,
  segmentName,
} from './segment.ts';

/** Most headers fit; a longer one takes another read. */
const headerReadBytes = 8 * 1024;

export class SegmentFile {
  readonly range: SegmentName;
  readonly storage: Storage;
  readonly directory: string;
  readonly fileBytes: number;
  /** Encoded bytes of its entries above the checkpoint; from the header, or the file's size where that can't be read. */
  encodedBytes: number;
  #readers = 0;
  #whenUnused: (() => void) | undefined;

  constructor(storage: Storage, directory: string, range: SegmentName, fileBytes: number, encodedBytes: number) {
    this.storage = storage;
    this.directory = directory;
    this.range = range;
    this.fileBytes = fileBytes;
    this.encodedBytes = encodedBytes;
  }

  /** The path below the URL. */
  get path(): string {
    return `${this.directory}/${this.range.name}`;
  }

  /** Keeps the file from deletion until `release`. */
  retain(): void {
    this.#readers++;
  }

  release(): void {
    this.#readers--;
    if (this.#readers === 0) this.#whenUnused?.();
  }

  /** Resolves when nobody reads it any more. Nobody may retain it afterwards. */
  async unused(): Promise<void> {
    if (this.#readers === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenUnused = resolve;
    });
  }

  /** The header. Throws DAMAGED, or the system's error. */
  async header(): Promise<SegmentHeader> {
    const reader = await this.storage.openReader(this.path);
    try {
      return await this.#readHeader(reader);
    } finally {
      await reader.close();
    }
  }

  /** Its entries at or above `from`, a block at a time, each checked. Throws DAMAGED at the first bad block. */
  async *runsFrom(from: number): AsyncGenerator<EntryRun> {
    const reader = await this.storage.openReader(this.path);
    try {
      const header = await this.#readHeader(reader);
      for (const block of header.blocks) {
        if (block.first + block.entries <= from) continue;
        const stored = await reader.read(block.offset, block.storedBytes);
        const run = await openBlock(this.#fullPath, header, block, stored);
        yield cutRun(run, from);
      }
    } finally {
      await reader.close();
    }
  }

  get #fullPath(): string {
    return `${this.storage.url}/${this.path}`;
  }

  async #readHeader(reader: StoredReader): Promise<SegmentHeader> {
    for (let bytes = headerReadBytes; ; bytes *= 4) {
      const start = await reader.read(0, bytes);
      const isWhole = start.length < bytes || bytes >= reader.bytes;
      const header = decodeSegmentHeader(this.#fullPath, start, isWhole, this.range);
      if (header !== undefined) return header;
    }
  }
}

/** Writes a segment that holds `runs`, which are the entries of `range`; it is durable when this resolves (E8). */
export async function publishSegment(
  storage: Storage,
  directory: string,
  range: { readonly first: number; readonly last: number },
  metadata: SegmentMetadata,
  compression: Compression,
  runs: readonly EntryRun[],
): Promise<SegmentFile> {
  const name = { name: segmentName(range.first, range.last), first: range.first, last: range.last };
  const parts = await encodeSegment(metadata, compression, runs);
  await storage.publish(`${directory}/${name.name}`, parts);
  const encodedBytes = runs.reduce((sum, run) => sum + run.bytes.length, 0);
  return new SegmentFile(storage, directory, name, partsBytes(parts), encodedBytes);
}

/** The part of a run at or above `from`. */
export function cutRun(run: EntryRun, from: number): EntryRun {
  if (from <= run.first) return run;
  let offset = 0;
  while (offset < run.bytes.length && entrySequence(run.bytes, offset) < from) offset = skipEntry(run.bytes, offset);
  return { first: from, count: run.first + run.count - from, bytes: run.bytes.subarray(offset) };
}
