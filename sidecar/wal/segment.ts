/**
 * A segment: an Avro object container file (Avro specification, "Object Container Files") of one collection's entries
 * `<first>-<last>.avro`, complete when it is written and never changed.
 *
 *   header: magic "Obj" 1, metadata map, sync marker of 16 bytes
 *   block:  entries long, stored bytes long, the (compressed) entries, sync marker
 *
 * Metadata beyond Avro's own, all text: collection, incarnation, checkpoint, `blocks`: JSON [[entries, encoded bytes, stored
 * bytes, CRC-32 of the stored bytes], …], and `checksum`: CRC-32 of the other values and the sync marker. No Avro codec's
 * own check catches every flipped bit; these do. An entry-free segment is `<next>-<next − 1>.avro`, without a block.
 */
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import zlib, { crc32 } from 'node:zlib';
import avro from 'avsc';
import { type Compression, compressions } from '../config/configuration.ts';
import { WalError } from '../errors.ts';
import { readBytes, readLong } from './avro-binary.ts';
import { entrySchema, entrySequence, skipEntry } from './entry.ts';
import type { EntryRun } from './memory.ts';

/** A block is closed at the first entry that takes it to this size: what a read has to load at the least. */
const blockBytesTarget = 64 * 1024;
const magic = Buffer.from('Obj\u0001', 'latin1');
const syncBytes = 16;

const headerType = avro.Type.forSchema({
  type: 'record',
  name: 'org.apache.avro.file.Header',
  fields: [
    { name: 'magic', type: { type: 'fixed', name: 'Magic', size: 4 } },
    { name: 'meta', type: { type: 'map', values: 'bytes' } },
    { name: 'sync', type: { type: 'fixed', name: 'Sync', size: syncBytes } },
  ],
});

const longType = avro.Type.forSchema('long');

const avroCodecs: Record<Compression, string> = { none: 'null', deflate: 'deflate', zstd: 'zstandard' };

export interface SegmentName {
  readonly name: string;
  readonly first: number;
  /** first − 1 in an entry-free one. */
  readonly last: number;
}

export function segmentName(first: number, last: number): string {
  return `${String(first).padStart(20, '0')}-${String(last).padStart(20, '0')}.avro`;
}

/** The range a segment's name states, or undefined if it is no segment's name. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = /^(\d{20})-(\d{20})\.avro$/.exec(name);
  if (match === null) return undefined;
  const [first, last] = [Number(match[1]), Number(match[2])];
  return Number.isSafeInteger(last) && first >= 1 && last >= first - 1 ? { name, first, last } : undefined;
}

export interface SegmentMetadata {
  readonly collection: string;
  readonly incarnation: string;
  readonly checkpoint: number;
}

export interface SegmentBlock {
  readonly first: number;
  readonly entries: number;
  /** Encoded bytes of its entries before compression. */
  readonly encodedBytes: number;
  /** Where its stored bytes begin in the file, and how many there are. */
  readonly offset: number;
  readonly storedBytes: number;
  readonly checksum: number;
}

export interface SegmentHeader extends SegmentMetadata {
  readonly compression: Compression;
  readonly blocks: readonly SegmentBlock[];
}

/** The parts of a segment file that holds `runs`, which follow one another without a gap (or none). */
export async function encodeSegment(
  metadata: SegmentMetadata,
  compression: Compression,
  runs: readonly EntryRun[],
): Promise<Uint8Array[]> {
  const sync = randomBytes(syncBytes);
  const table: [number, number, number, number][] = [];
  const body: Uint8Array[] = [];
  for (const run of runs) {
    for (const block of blocksOf(run)) {
      const stored = await compress(compression, block.bytes);
      table.push([block.count, block.bytes.length, stored.length, crc32(stored)]);
      body.push(blockPrefix(block.count, stored.length), stored, sync);
    }
  }
  return [encodeHeader(metadata, compression, JSON.stringify(table), sync), ...body];
}

function encodeHeader(metadata: SegmentMetadata, compression: Compression, blocks: string, sync: Buffer): Buffer {
  const meta: Record<string, Buffer> = {
    'avro.schema': Buffer.from(JSON.stringify(entrySchema)),
    'avro.codec': Buffer.from(avroCodecs[compression]),
    'proximadb.wal.collection': Buffer.from(metadata.collection),
    'proximadb.wal.incarnation': Buffer.from(metadata.incarnation),
    'proximadb.wal.checkpoint': Buffer.from(String(metadata.checkpoint)),
    'proximadb.wal.blocks': Buffer.from(blocks),
  };
  meta['proximadb.wal.checksum'] = Buffer.from(headerChecksum(meta, sync));
  return headerType.toBuffer({ magic, meta, sync });
}

function headerChecksum(meta: Record<string, Buffer>, sync: Buffer): string {
  let checksum = 0;
  for (const key of Object.keys(meta).toSorted()) {
    if (key === 'proximadb.wal.checksum') continue;
    checksum = crc32(meta[key] ?? '', crc32(`${key}\n`, checksum));
  }
  return String(crc32(sync, checksum));
}

/** Cuts a run into blocks at entries' ends, without copying. */
function* blocksOf(run: EntryRun): Generator<{ count: number; bytes: Buffer }> {
  let from = 0;
  let count = 0;
  let end = 0;
  while (end < run.bytes.length) {
    end = skipEntry(run.bytes, end);
    count++;
    if (end - from < blockBytesTarget && end < run.bytes.length) continue;
    yield { count, bytes: run.bytes.subarray(from, end) };
    from = end;
    count = 0;
  }
}

function blockPrefix(entries: number, storedBytes: number): Buffer {
  return Buffer.concat([longType.toBuffer(entries), longType.toBuffer(storedBytes)]);
}

/**
 * Parses the header at the beginning of a segment file. Where `start` isn't the whole file, undefined means that more is needed.
 * Throws DAMAGED, naming `file`, when it is no header of ours or its checksum is wrong.
 */
export function decodeSegmentHeader(
  file: string,
  start: Buffer,
  isWhole: boolean,
  range: SegmentName,
): SegmentHeader | undefined {
  const parsed = parseHeader(file, start, isWhole);
  if (parsed === undefined) return undefined;
  const { meta, sync } = parsed;
  if (headerChecksum(meta, sync) !== meta['proximadb.wal.checksum']?.toString()) {
    throw damaged(file, 'the checksum of its header is wrong');
  }
  const text = (key: string): string => meta[`proximadb.wal.${key}`]?.toString() ?? '';
  const codec = meta['avro.codec']?.toString() ?? 'null';
  const compression = compressions.find((name) => avroCodecs[name] === codec);
  if (compression === undefined) throw damaged(file, `its codec ${codec} is unknown`);
  return {
    collection: text('collection'),
    incarnation: text('incarnation'),
    checkpoint: Number(text('checkpoint')),
    compression,
    blocks: placeBlocks(file, text('blocks'), parsed.end, range),
  };
}

interface ParsedHeader {
  readonly meta: Record<string, Buffer>;
  readonly sync: Buffer;
  readonly end: number;
}

function parseHeader(file: string, start: Buffer, isWhole: boolean): ParsedHeader | undefined {
  if (start.length < magic.length ? isWhole : magic.compare(start, 0, magic.length) !== 0) {
    throw damaged(file, 'it is no Avro object container file');
  }
  try {
    const { meta, end } = parseMetadata(start, magic.length);
    if (end + syncBytes > start.length) throw new RangeError('the sync marker is cut short');
    return { meta, sync: start.subarray(end, end + syncBytes), end: end + syncBytes };
  } catch (error) {
    if (!isWhole) return undefined;
    throw damaged(file, 'its header is cut short', error);
  }
}

/** Avro's map: blocks of pairs, each led by its count (negative: its size follows), ended by an empty one. */
function parseMetadata(source: Buffer, from: number): { meta: Record<string, Buffer>; end: number } {
  const meta: Record<string, Buffer> = {};
  let count = readLong(source, from);
  while (count.value !== 0) {
    let at = count.value < 0 ? readLong(source, count.end).end : count.end;
    for (let left = Math.abs(count.value); left > 0; left--) {
      const key = readBytes(source, at);
      const value = readBytes(source, key.end);
      meta[key.value.toString()] = value.value;
      at = value.end;
    }
    count = readLong(source, at);
  }
  return { meta, end: count.end };
}

function placeBlocks(file: string, json: string, headerEnd: number, range: SegmentName): SegmentBlock[] {
  let first = range.first;
  let offset = headerEnd;
  const blocks: SegmentBlock[] = [];
  // The header's checksum holds: this is what encodeSegment wrote.
  const table: readonly [number, number, number, number][] = JSON.parse(json);
  for (const [entries, encodedBytes, storedBytes, checksum] of table) {
    offset += blockPrefix(entries, storedBytes).length;
    blocks.push({ first, entries, encodedBytes, offset, storedBytes, checksum });
    first += entries;
    offset += storedBytes + syncBytes;
  }
  if (first !== range.last + 1) throw damaged(file, `its name ends at ${range.last}, its content at ${first - 1}`);
  return blocks;
}

/**
 * A block's entries from its stored bytes. Throws DAMAGED, naming `file` and offset, when the checksum is wrong, or when the
 * entries are others than the file's name promises.
 */
export async function openBlock(
  file: string,
  header: SegmentHeader,
  block: SegmentBlock,
  stored: Buffer,
): Promise<EntryRun> {
  if (stored.length !== block.storedBytes || crc32(stored) !== block.checksum) {
    throw damaged(file, `the checksum of the block at offset ${block.offset} is wrong`);
  }
  const bytes = await decompress(header.compression, stored);
  if (entrySequence(bytes, 0) !== block.first) {
    throw damaged(file, `the block at offset ${block.offset} begins at ${entrySequence(bytes, 0)}, not ${block.first}`);
  }
  return { first: block.first, count: block.entries, bytes };
}

function damaged(file: string, what: string, cause?: unknown): WalError {
  const remedy = 'restore the file from a copy, or drop the collection';
  return new WalError('DAMAGED', `segment ${file}: ${what}; ${remedy}`, { cause });
}

const deflate = promisify(zlib.deflateRaw);
const inflate = promisify(zlib.inflateRaw);
const zstdCompress = promisify(zlib.zstdCompress);
const zstdDecompress = promisify(zlib.zstdDecompress);

async function compress(compression: Compression, bytes: Buffer): Promise<Buffer> {
  if (compression === 'deflate') return deflate(bytes);
  return compression === 'zstd' ? zstdCompress(bytes) : bytes;
}

async function decompress(compression: Compression, stored: Buffer): Promise<Buffer> {
  if (compression === 'deflate') return inflate(stored);
  return compression === 'zstd' ? zstdDecompress(stored) : stored;
}
