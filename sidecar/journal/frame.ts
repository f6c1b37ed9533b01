/**
 * The bytes of a journal file. All integers are little-endian; all checksums are CRC-32 (IEEE, as zlib computes it).
 *
 *   file  = file header, frame, frame, …
 *
 *   file header, 64 bytes
 *     0  magic "PXWALJ01"          24  marker, 16 random bytes: the file's own
 *     8  epoch u64                 40  predecessor's number u64 (0: this is the epoch's first file)
 *    16  number u64                48  end of the predecessor's valid content u64
 *                                  56  zero u32      60  checksum of bytes 0–59
 *
 *   frame
 *     0  magic "WALF"              36  offset of this frame in its file u64
 *     4  header bytes u32          44  synced offset u64: all below it was durable when this frame was written
 *     8  checksum of the header    52  body bytes u32
 *        from byte 12 on           56  checksum of the body
 *    12  marker of the file        60  collections u32   64  batches u32   68  records u32
 *    28  epoch u64                    72  flags u32 (1: the epoch's `recovered` frame stands before this one)
 *    76  collections: name length u16, name, incarnation 16 bytes, first u64, last u64 (first = last + 1: no entries)
 *        batches:     collection's place in that list u32, entries u32, bytes in the body u32
 *        records:     kind u8, collection's place u32, next sequence u64, checkpoint u64, damage length u16, damage
 *     …  body: the batches' entries, Avro-encoded, one batch after the other
 *
 * A frame is one commit. The list of collections stands in the header, so that damage in the body stops only those.
 * The marker and the offset keep stale or misplaced bytes from passing for frames. The synced offset (an idea of the
 * Pebble WAL) tells an unclean end from damage: see replay.ts.
 */
import { crc32 } from 'node:zlib';

const fileMagic = Buffer.from('PXWALJ01', 'latin1');
const frameMagic = 0x464c4157; // "WALF"

export const fileHeaderBytes = 64;
const fixedBytes = 76;
const recoveredFlag = 1;
const collectionFixedBytes = 2 + 16 + 8 + 8;
const batchBytes = 12;
const recordFixedBytes = 1 + 4 + 8 + 8 + 2;
/** What its length field can say: a longer sentence of damage (it may quote a damaged file) is cut. */
const damageBytesMax = 0xffff;
/** No frame header is larger: bounds what a damaged length can make the reader believe (R5). */
const headerBytesMax = 64 * 1024 * 1024;

export interface FileHeader {
  readonly epoch: number;
  readonly number: number;
  readonly marker: Buffer;
  /** 0 where the file is the first of its epoch. */
  readonly predecessor: number;
  readonly predecessorEnd: number;
}

/** A collection that a frame has entries or records of. */
export interface FrameCollection {
  readonly name: string;
  /** 32 hex digits. */
  readonly incarnation: string;
  readonly first: number;
  readonly last: number;
}

/** The entries of one client's append: they stand in the body one after the other. */
export interface FrameBatch {
  /** Place in `collections`. */
  readonly collection: number;
  readonly entries: number;
  readonly bytes: number;
}

const recordKinds = ['recovered', 'state', 'drop'] as const;

/**
 * `state`: what is known of a collection (its damage is a sentence, empty if there is none); `drop`: the incarnation is
 * gone; `recovered`: everything of older epochs that is still needed stands in this one (E17). It belongs to no collection.
 */
export interface FrameRecord {
  readonly kind: (typeof recordKinds)[number];
  readonly collection: number;
  readonly nextSequence: number;
  readonly checkpoint: number;
  readonly damage: string;
}

/** The record of a drop; its positions mean nothing. */
export const dropRecord = { kind: 'drop', nextSequence: 1, checkpoint: 0, damage: '' } as const;

export interface FrameContent {
  readonly collections: readonly FrameCollection[];
  readonly batches: readonly FrameBatch[];
  readonly records: readonly FrameRecord[];
}

/** Where a frame stands: what ties it to its file. */
export interface FramePosition {
  readonly marker: Buffer;
  readonly epoch: number;
  readonly offset: number;
  readonly syncedOffset: number;
  /** The epoch's `recovered` frame was written before: proves the epoch good even if that frame is damaged later. */
  readonly recovered: boolean;
}

export interface FrameHeader extends FrameContent {
  readonly offset: number;
  readonly syncedOffset: number;
  readonly recovered: boolean;
  readonly headerBytes: number;
  readonly bodyBytes: number;
  readonly bodyChecksum: number;
}

/** The file header's 64 bytes. */
export function encodeFileHeader(header: FileHeader): Buffer {
  const bytes = Buffer.alloc(fileHeaderBytes);
  fileMagic.copy(bytes, 0);
  writeU64(bytes, header.epoch, 8);
  writeU64(bytes, header.number, 16);
  header.marker.copy(bytes, 24);
  writeU64(bytes, header.predecessor, 40);
  writeU64(bytes, header.predecessorEnd, 48);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** The header of a journal file, or undefined if these bytes hold no whole one. */
export function decodeFileHeader(bytes: Buffer): FileHeader | undefined {
  if (bytes.length < fileHeaderBytes || fileMagic.compare(bytes, 0, 8) !== 0) return undefined;
  if (crc32(bytes.subarray(0, 60)) !== bytes.readUInt32LE(60)) return undefined;
  return {
    epoch: readU64(bytes, 8),
    number: readU64(bytes, 16),
    marker: Buffer.from(bytes.subarray(24, 40)),
    predecessor: readU64(bytes, 40),
    predecessorEnd: readU64(bytes, 48),
  };
}

/** The header of a frame whose body is `body`; the body follows it unchanged. */
export function encodeFrameHeader(position: FramePosition, content: FrameContent, body: Uint8Array): Buffer {
  const collections = content.collections.map((collection) => ({ collection, name: Buffer.from(collection.name) }));
  const records = content.records.map((record) => ({
    record,
    damage: Buffer.from(record.damage).subarray(0, damageBytesMax),
  }));
  const headerBytes =
    fixedBytes +
    collections.reduce((sum, { name }) => sum + collectionFixedBytes + name.length, 0) +
    content.batches.length * batchBytes +
    records.reduce((sum, { damage }) => sum + recordFixedBytes + damage.length, 0);
  const bytes = Buffer.allocUnsafe(headerBytes);
  bytes.writeUInt32LE(frameMagic, 0);
  bytes.writeUInt32LE(headerBytes, 4);
  position.marker.copy(bytes, 12);
  writeU64(bytes, position.epoch, 28);
  writeU64(bytes, position.offset, 36);
  writeU64(bytes, position.syncedOffset, 44);
  bytes.writeUInt32LE(body.length, 52);
  bytes.writeUInt32LE(crc32(body), 56);
  bytes.writeUInt32LE(collections.length, 60);
  bytes.writeUInt32LE(content.batches.length, 64);
  bytes.writeUInt32LE(records.length, 68);
  bytes.writeUInt32LE(position.recovered ? recoveredFlag : 0, 72);
  let at = writeCollections(bytes, fixedBytes, collections);
  for (const batch of content.batches) {
    bytes.writeUInt32LE(batch.collection, at);
    bytes.writeUInt32LE(batch.entries, at + 4);
    bytes.writeUInt32LE(batch.bytes, at + 8);
    at += batchBytes;
  }
  writeRecords(bytes, at, records);
  bytes.writeUInt32LE(crc32(bytes.subarray(12)), 8);
  return bytes;
}

function writeCollections(
  bytes: Buffer,
  from: number,
  list: readonly { readonly collection: FrameCollection; readonly name: Buffer }[],
): number {
  let at = from;
  for (const { collection, name } of list) {
    bytes.writeUInt16LE(name.length, at);
    name.copy(bytes, at + 2);
    at += 2 + name.length;
    bytes.write(collection.incarnation, at, 16, 'hex');
    writeU64(bytes, collection.first, at + 16);
    writeU64(bytes, collection.last, at + 24);
    at += 32;
  }
  return at;
}

function writeRecords(
  bytes: Buffer,
  from: number,
  list: readonly { readonly record: FrameRecord; readonly damage: Buffer }[],
): void {
  let at = from;
  for (const { record, damage } of list) {
    bytes.writeUInt8(recordKinds.indexOf(record.kind), at);
    bytes.writeUInt32LE(record.collection, at + 1);
    writeU64(bytes, record.nextSequence, at + 5);
    writeU64(bytes, record.checkpoint, at + 13);
    bytes.writeUInt16LE(damage.length, at + 21);
    damage.copy(bytes, at + recordFixedBytes);
    at += recordFixedBytes + damage.length;
  }
}

export type DecodedFrame =
  /** A whole frame; `body` is a view. */
  | { readonly kind: 'frame'; readonly header: FrameHeader; readonly body: Buffer }
  /** The header is whole, the body isn't there in full or doesn't match its checksum. */
  | { readonly kind: 'badBody'; readonly header: FrameHeader }
  /** No whole header of this file stands here. */
  | { readonly kind: 'badHeader' };

/** Reads the frame at `offset` of a whole file's bytes. Never throws, whatever the bytes. */
export function decodeFrame(file: Buffer, offset: number, marker: Buffer, epoch: number): DecodedFrame {
  const header = decodeFrameHeader(file, offset, marker, epoch);
  if (header === undefined) return { kind: 'badHeader' };
  const from = offset + header.headerBytes;
  const body = file.subarray(from, from + header.bodyBytes);
  if (body.length < header.bodyBytes || crc32(body) !== header.bodyChecksum) return { kind: 'badBody', header };
  return { kind: 'frame', header, body };
}

function decodeFrameHeader(file: Buffer, offset: number, marker: Buffer, epoch: number): FrameHeader | undefined {
  if (offset + fixedBytes > file.length || file.readUInt32LE(offset) !== frameMagic) return undefined;
  const headerBytes = file.readUInt32LE(offset + 4);
  if (headerBytes < fixedBytes || headerBytes > headerBytesMax || offset + headerBytes > file.length) return undefined;
  const bytes = file.subarray(offset, offset + headerBytes);
  if (crc32(bytes.subarray(12)) !== bytes.readUInt32LE(8)) return undefined;
  if (marker.compare(bytes, 12, 28) !== 0 || readU64(bytes, 28) !== epoch || readU64(bytes, 36) !== offset) {
    return undefined;
  }
  const content = decodeContent(bytes);
  if (content === undefined) return undefined;
  return {
    ...content,
    offset,
    syncedOffset: readU64(bytes, 44),
    recovered: (bytes.readUInt32LE(72) & recoveredFlag) !== 0,
    headerBytes,
    bodyBytes: bytes.readUInt32LE(52),
    bodyChecksum: bytes.readUInt32LE(56),
  };
}

/** The lists behind the fixed part; undefined where they run over its end although the checksum held. */
function decodeContent(bytes: Buffer): FrameContent | undefined {
  try {
    return readLists(bytes);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function readLists(bytes: Buffer): FrameContent {
  const collections: FrameCollection[] = [];
  const batches: FrameBatch[] = [];
  const records: FrameRecord[] = [];
  let at = fixedBytes;
  for (let left = bytes.readUInt32LE(60); left > 0; left--) {
    const nameEnd = at + 2 + bytes.readUInt16LE(at);
    collections.push({
      name: bytes.toString('utf8', at + 2, nameEnd),
      incarnation: bytes.toString('hex', nameEnd, nameEnd + 16),
      first: readU64(bytes, nameEnd + 16),
      last: readU64(bytes, nameEnd + 24),
    });
    at = nameEnd + 32;
  }
  for (let left = bytes.readUInt32LE(64); left > 0; left--) {
    batches.push({
      collection: bytes.readUInt32LE(at),
      entries: bytes.readUInt32LE(at + 4),
      bytes: bytes.readUInt32LE(at + 8),
    });
    at += batchBytes;
  }
  for (let left = bytes.readUInt32LE(68); left > 0; left--) {
    const damageEnd = at + recordFixedBytes + bytes.readUInt16LE(at + 21);
    records.push({
      kind: recordKinds[bytes.readUInt8(at)] ?? 'state',
      collection: bytes.readUInt32LE(at + 1),
      nextSequence: readU64(bytes, at + 5),
      checkpoint: readU64(bytes, at + 13),
      damage: bytes.toString('utf8', at + recordFixedBytes, damageEnd),
    });
    at = damageEnd;
  }
  return { collections, batches, records };
}

/** Where the next header of this file could stand at or after `from`: an offset, or -1. */
export function findMarker(file: Buffer, from: number, marker: Buffer): number {
  const at = file.indexOf(marker, from + 12);
  return at < 0 ? -1 : at - 12;
}

function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 0x1_0000_0000 + bytes.readUInt32LE(at);
}
