/**
 * One entry in Avro: record `WalEntry` of the storage layout. Its bytes are made once, at the append; the journal, the memory,
 * the segments and exports all hold those same bytes.
 *
 * Avro encodes a string as it encodes bytes, so the codec here takes operation and key as bytes: nothing is decoded
 * to text and back on the way (measured: 0.2 µs an entry of 1 KiB against 0.3 µs for writing the fields by hand).
 */
import avro from 'avsc';
import { readBytes, readLong, skipLong } from './avro-binary.ts';
import type { WalEntry } from './wal.ts';

/** The schema that stands in every segment: what stock readers see. */
export const entrySchema = {
  type: 'record',
  name: 'WalEntry',
  namespace: 'io.proximadb.wal',
  fields: [
    { name: 'sequence', type: 'long' },
    { name: 'timestamp', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'operation', type: 'string' },
    { name: 'key', type: 'string' },
    { name: 'payload', type: 'bytes' },
  ],
} as const;

const codec = avro.Type.forSchema({
  type: 'record',
  name: 'WalEntry',
  namespace: 'io.proximadb.wal',
  fields: [
    { name: 'sequence', type: 'long' },
    { name: 'timestamp', type: 'long' },
    { name: 'operation', type: 'bytes' },
    { name: 'key', type: 'bytes' },
    { name: 'payload', type: 'bytes' },
  ],
});

/** No encoding of an entry is longer than its fields and this: two longs and three lengths. */
export const entryOverheadBytesMax = 2 * 10 + 3 * 5;

/** Writes an entry into `target` at `at`; returns where it ends. The caller has made sure of the room. */
export function encodeEntry(
  target: Buffer,
  at: number,
  sequence: number,
  timestamp: number,
  operation: Buffer,
  key: Buffer,
  payload: Buffer,
): number {
  return codec.encode({ sequence, timestamp, operation, key, payload }, target, at);
}

/** Reads the entry at `at`; its buffers are views of `source`. Returns it and where it ends. */
export function decodeEntry(source: Buffer, at: number): { entry: WalEntry; end: number } {
  const sequence = readLong(source, at);
  const timestamp = readLong(source, sequence.end);
  const operation = readBytes(source, timestamp.end);
  const key = readBytes(source, operation.end);
  const payload = readBytes(source, key.end);
  return {
    entry: {
      sequence: sequence.value,
      timestampUs: timestamp.value,
      operation: operation.value,
      key: key.value,
      payload: payload.value,
    },
    end: payload.end,
  };
}

/** The sequence of the entry at `at`. */
export function entrySequence(source: Buffer, at: number): number {
  return readLong(source, at).value;
}

/** Where the entry at `at` ends. Throws RangeError when it doesn't end within `source`. */
export function skipEntry(source: Buffer, at: number): number {
  let end = skipLong(source, at);
  end = skipLong(source, end);
  for (let field = 0; field < 3; field++) {
    const length = readLong(source, end);
    end = length.end + length.value;
    if (length.value < 0 || end > source.length)
      throw new RangeError(`an entry at ${at} runs over the end of its block`);
  }
  return end;
}
