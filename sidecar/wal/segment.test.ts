import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import zlib from 'node:zlib';
import avro from 'avsc';
import type { Compression } from '../config/configuration.ts';
import type { WalError } from '../errors.ts';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { decodeEntry, encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { EntryRun } from './memory.ts';
import { decodeSegmentHeader, encodeSegment, parseSegmentName, type SegmentName, segmentName } from './segment.ts';
import { SegmentFile } from './segment-file.ts';

const compressions = ['none', 'deflate', 'zstd'] as const;
const metadata = { collection: 'orders/ü', incarnation: 'ab'.repeat(16), checkpoint: 6 };

function run(first: number, payloads: readonly string[]): EntryRun {
  const parts = payloads.map((text, index) => {
    const [operation, key, payload] = [Buffer.from('INSERT'), Buffer.from(`key ${index}`), Buffer.from(text)];
    const target = Buffer.alloc(entryOverheadBytesMax + operation.length + key.length + payload.length);
    return target.subarray(0, encodeEntry(target, 0, first + index, 1_700_000_000_000_000, operation, key, payload));
  });
  return { first, count: payloads.length, bytes: Buffer.concat(parts) };
}

function rangeOf(first: number, last: number): SegmentName {
  return { name: segmentName(first, last), first, last };
}

async function encoded(runs: readonly EntryRun[], compression: Compression = 'none'): Promise<Buffer> {
  return Buffer.concat(await encodeSegment(metadata, compression, runs));
}

/** The bytes as a segment file that lies in storage. */
async function stored(bytes: Uint8Array, range: SegmentName): Promise<SegmentFile> {
  const storage = openFileStorage('file:///disks/1', '/disks/1', new SimulatedFileSystem({ seed: 1 }));
  await storage.lock('test', 0);
  await storage.createDirectory('orders');
  await storage.publish(`orders/${range.name}`, [bytes]);
  return new SegmentFile(storage, 'orders', range, bytes.length, bytes.length);
}

/** What a reader gets: sequences and payloads. */
async function contentOf(file: SegmentFile, from = 0): Promise<[number, string][]> {
  const content: [number, string][] = [];
  for await (const { bytes } of file.runsFrom(from)) {
    for (let at = 0; at < bytes.length; ) {
      const { entry, end } = decodeEntry(bytes, at);
      content.push([entry.sequence, entry.payload.toString()]);
      at = end;
    }
  }
  return content;
}

/** What avsc's own decoder of container files gives. */
async function stockRead(bytes: Buffer): Promise<unknown[]> {
  const codecs: Record<string, avro.Codec> = {
    ...avro.streams.BlockDecoder.defaultCodecs(),
    zstandard: (data, done) => zlib.zstdDecompress(data, done),
  };
  const decoder = Readable.from([bytes]).pipe(new avro.streams.BlockDecoder({ codecs }));
  const values: unknown[] = [];
  for await (const value of decoder) values.push(value);
  return values;
}

test('names are 20 digits and are read as they are written; others are no segment’s', () => {
  assert.equal(segmentName(1, 25), '00000000000000000001-00000000000000000025.avro');
  for (const [first, last] of [
    [1, 1],
    [7, 6],
    [1, Number.MAX_SAFE_INTEGER],
  ] as const) {
    assert.deepEqual(parseSegmentName(segmentName(first, last)), rangeOf(first, last));
  }
  for (const name of [
    '_tmp-1',
    '1-2.avro',
    segmentName(0, 5),
    segmentName(9, 7),
    segmentName(1, 2).replace('.avro', '.wal'),
    `_${segmentName(1, 2)}`,
    `${'9'.repeat(20)}-${'9'.repeat(20)}.avro`,
  ]) {
    assert.equal(parseSegmentName(name), undefined, name);
  }
});

for (const compression of compressions) {
  test(`avsc’s stock decoder reads a segment with ${compression}`, async () => {
    const payloads = Array.from({ length: 300 }, (_, index) => `payload ${index} ${'x'.repeat(index * 3)}`);
    const bytes = await encoded([run(7, payloads.slice(0, 100)), run(107, payloads.slice(100))], compression);
    const values = await stockRead(bytes);
    const expected = payloads.map((payload, index) => ({
      sequence: 7 + index,
      timestamp: 1_700_000_000_000_000,
      operation: 'INSERT',
      key: `key ${index < 100 ? index : index - 100}`,
      payload: Buffer.from(payload),
    }));
    assert.deepEqual(
      values.map((value) => Object.assign({}, value)),
      expected,
    );
  });

  test(`a segment with ${compression} is read from any sequence on, and its header says what it holds`, async () => {
    const payloads = Array.from({ length: 40 }, (_, index) => `${index} `.repeat(2_000));
    const file = await stored(await encoded([run(7, payloads)], compression), rangeOf(7, 46));
    const header = await file.header();
    assert.deepEqual(
      { collection: header.collection, incarnation: header.incarnation, checkpoint: header.checkpoint },
      metadata,
    );
    assert.equal(header.compression, compression);
    assert.ok(header.blocks.length > 1, 'several blocks');
    assert.equal(
      header.blocks.reduce((sum, block) => sum + block.encodedBytes, 0),
      run(7, payloads).bytes.length,
    );
    const all = payloads.map((payload, index): [number, string] => [7 + index, payload]);
    assert.deepEqual(await contentOf(file), all);
    for (const from of [1, 7, 8, 20, 45, 46, 47]) {
      assert.deepEqual(
        await contentOf(file, from),
        all.filter(([sequence]) => sequence >= from),
        `from ${from}`,
      );
    }
  });

  test(`every flipped bit of a segment with ${compression} is DAMAGED, naming the file, or harms nothing`, async () => {
    const payloads = ['one', 'two two two two two two two two', ''];
    const good = await encoded([run(1, payloads)], compression);
    const expected = payloads.map((payload, index): [number, string] => [1 + index, payload]);
    const file = await stored(good, rangeOf(1, 3));
    const harmless: number[] = [];
    for (let bit = 0; bit < good.length * 8; bit++) {
      const spoiled = Buffer.from(good);
      spoiled[bit >> 3] = (spoiled[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await file.storage.publish(file.path, [spoiled]);
      try {
        assert.deepEqual(await contentOf(file), expected, `bit ${bit}`);
        harmless.push(bit >> 3);
      } catch (error) {
        assertDamaged(error, file, `bit ${bit}`);
      }
    }
    // What Avro puts around blocks is for others: our reader takes a block's place from the header, whose checksum holds.
    assert.deepEqual([...new Set(harmless)], framingOf(good));
  });
}

/** The offsets of the lengths before and the marker behind a segment's only block, which has more than 63 bytes or fewer. */
function framingOf(bytes: Buffer): number[] {
  const [block] = decodeSegmentHeader('x', bytes, true, rangeOf(1, 3))?.blocks ?? [];
  assert.ok(block);
  const lengths = 1 + (block.storedBytes > 63 ? 2 : 1);
  const offsets = Array.from({ length: lengths }, (_, index) => block.offset - lengths + index);
  for (let offset = block.offset + block.storedBytes; offset < bytes.length; offset++) offsets.push(offset);
  return offsets;
}

function assertDamaged(error: unknown, file: SegmentFile, where: string): asserts error is WalError {
  assert.ok(error instanceof Error && 'code' in error, `${where}: ${String(error)}`);
  assert.equal(error.code, 'DAMAGED', `${where}: ${error.message}`);
  assert.ok(error.message.includes(file.path), `${where}: ${error.message}`);
}

test('a segment cut at any byte is DAMAGED, or whole up to its last marker', async () => {
  const payloads = ['one', 'two', 'three'];
  const good = await encoded([run(1, payloads)]);
  const file = await stored(good, rangeOf(1, 3));
  for (let length = 0; length < good.length - 16; length++) {
    await file.storage.publish(file.path, [good.subarray(0, length)]);
    await assert.rejects(contentOf(file), (error) => {
      assertDamaged(error, file, `cut at ${length}`);
      return true;
    });
  }
});

test('an entry-free segment holds no block, says its checkpoint, and stock readers open it (E11)', async () => {
  const bytes = await encoded([]);
  assert.deepEqual(await stockRead(bytes), []);
  const file = await stored(bytes, rangeOf(7, 6));
  assert.deepEqual(await contentOf(file), []);
  assert.equal((await file.header()).checkpoint, 6);
});

test('a segment whose name promises other entries than it holds is DAMAGED', async () => {
  const bytes = await encoded([run(1, ['one', 'two', 'three'])]);
  for (const range of [rangeOf(1, 2), rangeOf(1, 4), rangeOf(2, 3), rangeOf(4, 3), rangeOf(11, 13)]) {
    const file = await stored(bytes, range);
    await assert.rejects(contentOf(file), { code: 'DAMAGED' }, range.name);
  }
});

test('a header longer than the first read is read in full', async () => {
  const long = { ...metadata, collection: 'n'.repeat(30_000) };
  const bytes = Buffer.concat(await encodeSegment(long, 'none', [run(1, ['one'])]));
  const file = await stored(bytes, rangeOf(1, 1));
  assert.equal((await file.header()).collection, long.collection);
  assert.deepEqual(await contentOf(file), [[1, 'one']]);
});

test('a foreign file under a segment’s name is DAMAGED, whatever its size', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('Obj'), Buffer.from('text'), Buffer.alloc(100_000, 0x80)]) {
    const file = await stored(bytes, rangeOf(1, 3));
    await assert.rejects(contentOf(file), { code: 'DAMAGED' }, `${bytes.length} bytes`);
  }
});

test('a segment is unused when its last reader is done, and not before (E15)', async () => {
  const file = await stored(await encoded([run(1, ['one'])]), rangeOf(1, 1));
  await file.unused();
  file.retain();
  file.retain();
  const unused = file.unused().then(() => 'unused');
  file.release();
  assert.equal(await Promise.race([unused, new Promise((resolve) => setImmediate(resolve, 'used'))]), 'used');
  file.release();
  assert.equal(await unused, 'unused');
});
