import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import {
  decodeFileHeader,
  decodeFrame,
  encodeFileHeader,
  encodeFrameHeader,
  type FileHeader,
  type FrameContent,
  type FrameHeader,
  type FramePosition,
  fileHeaderBytes,
  findMarker,
} from './frame.ts';
import { batchOf, Collector, flipBit, mount, newJournal, replayed, spoil } from './journal.fixture.ts';

const marker = Buffer.from('0123456789abcdef');
const position: FramePosition = { marker, epoch: 3, offset: 0, syncedOffset: 0, recovered: false };

const u64 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
const text = (maxLength: number) => fc.string({ unit: 'grapheme', maxLength });

const plain = { noNullPrototype: true };

const contents: fc.Arbitrary<FrameContent> = fc.record(
  {
    collections: fc.array(
      fc.record({ name: text(40), incarnation: bytes16.map((id) => id.toString('hex')), first: u64, last: u64 }, plain),
      { maxLength: 4 },
    ),
    batches: fc.array(fc.record({ collection: u32, entries: u32, bytes: u32 }, plain), { maxLength: 4 }),
    records: fc.array(
      fc.record(
        {
          kind: fc.constantFrom('recovered' as const, 'state' as const, 'drop' as const),
          collection: u32,
          nextSequence: u64,
          checkpoint: u64,
          damage: text(60),
        },
        plain,
      ),
      { maxLength: 4 },
    ),
  },
  plain,
);

const positions: fc.Arbitrary<FramePosition> = fc.record({
  marker: bytes16,
  epoch: u64,
  offset: fc.nat({ max: 300 }),
  syncedOffset: u64,
  recovered: fc.boolean(),
});

function contentOf({ collections, batches, records }: FrameHeader): FrameContent {
  return { collections, batches, records };
}

test('a frame is read as it was written', () => {
  const bodies = fc.uint8Array({ maxLength: 300 });
  const property = fc.property(positions, contents, bodies, (at, content, body) => {
    const header = encodeFrameHeader(at, content, body);
    const file = Buffer.concat([Buffer.alloc(at.offset, 0x55), header, body, Buffer.from('what follows')]);
    const decoded = decodeFrame(file, at.offset, at.marker, at.epoch);
    assert.equal(decoded.kind, 'frame');
    assert.deepEqual(contentOf(decoded.header), content);
    assert.deepEqual(decoded.body, Buffer.from(body));
    const { offset, syncedOffset, recovered, headerBytes, bodyBytes } = decoded.header;
    assert.deepEqual(
      { offset, syncedOffset, recovered, headerBytes, bodyBytes },
      {
        offset: at.offset,
        syncedOffset: at.syncedOffset,
        recovered: at.recovered,
        headerBytes: header.length,
        bodyBytes: body.length,
      },
    );
  });
  fc.assert(property);
});

test('a file header is read as it was written, and not at all when a bit of it is wrong or it is cut', () => {
  const headers: fc.Arbitrary<FileHeader> = fc.record(
    {
      epoch: u64,
      number: u64,
      marker: bytes16,
      predecessor: u64,
      predecessorEnd: u64,
    },
    plain,
  );
  const bits = fc.integer({ min: 0, max: fileHeaderBytes * 8 - 1 });
  const property = fc.property(headers, bits, (header, bit) => {
    const written = encodeFileHeader(header);
    assert.equal(written.length, fileHeaderBytes);
    assert.deepEqual(decodeFileHeader(written), header);
    assert.equal(decodeFileHeader(flipBit(written, bit >> 3, bit & 7)), undefined);
    assert.equal(decodeFileHeader(written.subarray(0, bit >> 3)), undefined);
  });
  fc.assert(property);
});

test('decoding anything never throws and never gives a frame that was not written', () => {
  const property = fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat({ max: 420 }), (bytes, offset) => {
    assert.equal(decodeFrame(Buffer.from(bytes), offset, marker, 3).kind, 'badHeader');
  });
  fc.assert(property);
});

test('a frame is none in another file, in another epoch, at another offset: stale bytes are never read', () => {
  const body = Buffer.from('body');
  const frame = Buffer.concat([encodeFrameHeader(position, batchOf('c', 1, 1, body), body), body]);
  assert.equal(decodeFrame(frame, 0, marker, 3).kind, 'frame');
  assert.equal(decodeFrame(frame, 0, Buffer.alloc(16, 1), 3).kind, 'badHeader');
  assert.equal(decodeFrame(frame, 0, marker, 4).kind, 'badHeader');
  assert.equal(decodeFrame(Buffer.concat([Buffer.alloc(8), frame]), 8, marker, 3).kind, 'badHeader');
});

test('a header whose lengths are huge is no header; a body longer than the file is a bad body', () => {
  const body = Buffer.from('body');
  const good = Buffer.concat([encodeFrameHeader(position, batchOf('c', 1, 1, body), body), body]);
  for (const [at, value] of [
    [4, 0xffff_ffff],
    [4, 64 * 1024 * 1024],
    [4, 0],
    [4, 75],
    [60, 0xffff_ffff],
    [64, 0xffff_ffff],
    [68, 0xffff_ffff],
  ] as const) {
    const spoiled = Buffer.from(good);
    spoiled.writeUInt32LE(value, at);
    assert.equal(decodeFrame(spoiled, 0, marker, 3).kind, 'badHeader', `${value} at ${at}`);
  }
  const long = Buffer.from(good);
  long.writeUInt32LE(0xffff_ffff, 52);
  const headerBytes = good.length - body.length;
  long.writeUInt32LE(crc32(long.subarray(12, headerBytes)), 8);
  assert.equal(decodeFrame(long, 0, marker, 3).kind, 'badBody');
});

test('lists that run over the end of a header with a right checksum are no header, and do not throw', () => {
  const body = Buffer.from('body');
  const header = encodeFrameHeader(position, batchOf('c', 1, 1, body), body);
  for (const at of [60, 64, 68, 76]) {
    const spoiled = Buffer.concat([header, body]);
    spoiled.writeUInt16LE(0xffff, at);
    spoiled.writeUInt32LE(crc32(spoiled.subarray(12, header.length)), 8);
    assert.equal(decodeFrame(spoiled, 0, marker, 3).kind, 'badHeader', `at ${at}`);
  }
});

test('a sentence of damage longer than its field is cut, not refused (E21)', () => {
  const record = { kind: 'state', collection: 0, nextSequence: 1, checkpoint: 0, damage: 'ä'.repeat(70_000) } as const;
  const header = encodeFrameHeader(position, { collections: [], batches: [], records: [record] }, new Uint8Array());
  const decoded = decodeFrame(header, 0, marker, 3);
  assert.equal(decoded.kind, 'frame');
  assert.match(decoded.header.records[0]?.damage ?? '', /^ä{1000,}/);
});

test('no flipped bit of a frame passes: its header or its body is bad', () => {
  const body = Buffer.from('a body');
  const header = encodeFrameHeader(position, batchOf('c', 1, 1, body), body);
  const frame = Buffer.concat([header, body]);
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const decoded = decodeFrame(flipBit(frame, bit >> 3, bit & 7), 0, marker, 3);
    assert.equal(decoded.kind, bit >> 3 < header.length ? 'badHeader' : 'badBody', `bit ${bit}`);
  }
});

test('the marker of the next header is found at its own place only', () => {
  const body = Buffer.from('body');
  const frame = encodeFrameHeader(position, batchOf('c', 1, 1, body), body);
  const file = Buffer.concat([Buffer.alloc(30), frame, body]);
  assert.equal(findMarker(file, 0, marker), 30);
  assert.equal(findMarker(file, 30, marker), 30);
  assert.equal(findMarker(file, 31, marker), -1);
});

/** A journal of one file: the bytes of each frame's end, and the texts of their bodies. */
async function smallJournal(): Promise<{ bytes: Buffer; ends: number[]; texts: string[] }> {
  const storage = await mount(new SimulatedFileSystem({ seed: 1 }));
  const journal = newJournal(storage, 1);
  await journal.writeRecovered();
  const ends = [journal.bytes];
  const texts = ['one', 'two two', 'three three three', 'four'];
  for (const [index, body] of texts.entries()) {
    const bytes = Buffer.from(body);
    await journal.write(batchOf(index % 2 === 0 ? 'a' : 'b', index + 1, 1, bytes), bytes);
    ends.push(journal.bytes);
  }
  const bytes = await storage.read(`_journal/${journal.files[0]?.name}`);
  assert.equal(bytes.length, ends.at(-1));
  return { bytes, ends, texts };
}

/** Puts `bytes` in the place of a journal's only file and replays it. */
async function replayBytes(bytes: Uint8Array): ReturnType<typeof replayed> {
  const storage = await mount(new SimulatedFileSystem({ seed: 1 }));
  const journal = newJournal(storage, 1);
  await journal.writeRecovered();
  await spoil(storage, journal.files[0]?.name ?? '', () => bytes);
  return replayed(storage);
}

test('a journal cut at any byte is read up to its last whole frame; the rest is an unclean end (E20)', async () => {
  const { bytes, ends, texts } = await smallJournal();
  for (let length = 0; length < bytes.length; length++) {
    const { handler, damages, uncleanEnd } = await replayBytes(bytes.subarray(0, length));
    const whole = ends.filter((end) => end <= length).length;
    assert.deepEqual(handler?.texts, texts.slice(0, Math.max(0, whole - 1)), `cut at ${length}`);
    assert.deepEqual(damages, [], `cut at ${length}`);
    const start = whole === 0 ? fileHeaderBytes : ends[whole - 1];
    const expected = length <= (start ?? 0) ? undefined : start;
    assert.equal(uncleanEnd?.offset, expected, `cut at ${length}`);
  }
});

test('a journal with any bit flipped gives no wrong byte: whole, an unclean end, or damage at its place (E20)', async () => {
  const { bytes, ends, texts } = await smallJournal();
  for (let offset = 0; offset < bytes.length; offset++) {
    const bit = offset % 8;
    const { handler, damages, uncleanEnd } = await replayBytes(flipBit(bytes, offset, bit));
    const where = `bit ${bit} of byte ${offset}`;
    assert.ok(handler instanceof Collector, where);
    const frame = ends.findIndex((end) => offset < end);
    if (offset < fileHeaderBytes) {
      assert.deepEqual(handler.texts, [], where);
      assert.deepEqual(
        damages.map((damage) => damage.offset),
        [0],
        where,
      );
      continue;
    }
    const start = frame === 0 ? fileHeaderBytes : ends[frame - 1];
    const isLast = frame === ends.length - 1;
    const expected: (string | undefined)[] = [...texts];
    if (frame > 0) expected.splice(frame - 1, 1);
    assert.deepEqual(
      handler.texts.filter((found) => found !== undefined),
      expected,
      where,
    );
    assert.equal(uncleanEnd?.offset, isLast ? start : undefined, where);
    assert.deepEqual(
      damages.map((damage) => damage.offset),
      isLast ? [] : [start],
      where,
    );
    for (const { file } of damages) assert.match(file, /^\d{10}-\d{10}\.journal$/);
  }
});
