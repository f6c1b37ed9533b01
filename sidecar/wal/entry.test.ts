import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import fc from 'fast-check';
import { readBytes, readLong, skipLong } from './avro-binary.ts';
import { decodeEntry, encodeEntry, entryOverheadBytesMax, entrySchema, entrySequence, skipEntry } from './entry.ts';
import type { WalEntry } from './wal.ts';

/** avsc with the schema that stock readers see. */
const stock = avro.Type.forSchema({ ...entrySchema, fields: [...entrySchema.fields] });

const long = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((value) => Buffer.from(value));
const utf8 = (maxLength: number) => fc.string({ unit: 'grapheme', maxLength }).map((value) => Buffer.from(value));

const entries: fc.Arbitrary<WalEntry> = fc.record(
  { sequence: long, timestampUs: long, operation: utf8(32), key: utf8(200), payload: bytes(400) },
  { noNullPrototype: true },
);

function encoded({ sequence, timestampUs, operation, key, payload }: WalEntry): Buffer {
  const room = entryOverheadBytesMax + operation.length + key.length + payload.length;
  const target = Buffer.alloc(room);
  const end = encodeEntry(target, 0, sequence, timestampUs, operation, key, payload);
  assert.ok(end > 0 && end <= room, 'the stated room suffices');
  return target.subarray(0, end);
}

test('an entry has the bytes that avsc gives it under the public schema', () => {
  const property = fc.property(entries, (entry) => {
    const { sequence, timestampUs, operation, key, payload } = entry;
    const text = { operation: operation.toString(), key: key.toString() };
    const expected = stock.toBuffer({ sequence, timestamp: timestampUs, ...text, payload });
    assert.deepEqual(encoded(entry), expected);
  });
  fc.assert(property);
});

test('an entry is read as it was written, from any place in a buffer', () => {
  const property = fc.property(entries, fc.nat({ max: 20 }), (entry, at) => {
    const own = encoded(entry);
    const source = Buffer.concat([Buffer.alloc(at, 0xff), own, Buffer.from('what follows')]);
    assert.deepEqual(decodeEntry(source, at), { entry, end: at + own.length });
    assert.equal(skipEntry(source, at), at + own.length);
    assert.equal(entrySequence(source, at), entry.sequence);
  });
  fc.assert(property);
});

test('an entry cut at any byte is refused with RangeError', () => {
  const property = fc.property(entries, (entry) => {
    const whole = encoded(entry);
    for (let length = 0; length < whole.length; length++) {
      assert.throws(() => skipEntry(whole.subarray(0, length), 0), RangeError);
      assert.throws(() => decodeEntry(whole.subarray(0, length), 0), RangeError);
    }
  });
  fc.assert(property, { numRuns: 20 });
});

/** Bytes that look like lengths: continuation bytes, zeros, small numbers. */
const hostile = fc
  .array(
    fc.oneof(
      fc.nat({ max: 255 }).map((byte) => [byte]),
      fc.nat({ max: 200 }).map((count) => Array<number>(count).fill(0x80)),
      fc.nat({ max: 200 }).map((count) => Array<number>(count).fill(0xff)),
      fc.constant([0]),
      fc.constant([1]),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.from(parts.flat()));

test('whatever the bytes, an entry ends after its start and within them, or RangeError: nothing hangs', () => {
  const property = fc.property(hostile, (source) => {
    for (const read of [skipEntry, (from: Buffer, at: number): number => decodeEntry(from, at).end]) {
      let end: number;
      try {
        end = read(source, 0);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
        continue;
      }
      assert.ok(end > 0 && end <= source.length, `ends at ${end} of ${source.length}`);
    }
  });
  fc.assert(property, { numRuns: 2_000 });
});

test('a length of hundreds of continuation bytes is over the end, although no number holds it', () => {
  const endless = Buffer.concat([Buffer.alloc(2), Buffer.from([0, 0]), Buffer.alloc(200, 0x80), Buffer.from([0])]);
  assert.throws(() => skipEntry(endless, 0), RangeError);
  assert.throws(() => decodeEntry(endless, 0), RangeError);
  assert.throws(() => readBytes(endless, 4), RangeError);
});

test('a negative or huge length is refused', () => {
  for (const length of [
    [1],
    [0xff, 0xff, 0xff, 0xff, 0x0f],
    [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
  ]) {
    const source = Buffer.concat([Buffer.alloc(2), Buffer.from(length), Buffer.alloc(40)]);
    assert.throws(() => skipEntry(source, 0), RangeError);
  }
});

/** A long as the Avro specification encodes it, in arithmetic without rounding. */
function zigZag(value: number): Buffer {
  const groups: number[] = [];
  let left = value < 0 ? -2n * BigInt(value) - 1n : 2n * BigInt(value);
  for (; left > 0x7fn; left >>= 7n) groups.push(Number(left & 0x7fn) | 0x80);
  return Buffer.from([...groups, Number(left)]);
}

test('longs are read exactly within the safe integers', () => {
  const property = fc.property(fc.maxSafeInteger(), (value) => {
    const source = zigZag(value);
    assert.deepEqual(readLong(source, 0), { value, end: source.length });
    assert.equal(skipLong(source, 0), source.length);
  });
  fc.assert(property, {
    examples: [[Number.MAX_SAFE_INTEGER], [Number.MIN_SAFE_INTEGER], [0], [-1], [2 ** 52], [-(2 ** 52) - 1]],
  });
});
