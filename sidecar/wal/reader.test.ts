import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import avro from 'avsc';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { append, closeEngine, type EngineFixture, openEngine, payloads, until, watch } from './engine.fixture.ts';
import type { WalEntry } from './wal.ts';

const whole = { count: 1000, bytes: 1 << 20 };

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

/** Collection `c` with entries `1` to `9`: two segments (1–3, 4–6), the rest in memory. */
async function bench(): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const opened = await openEngine(fileSystem, { urls: 1 });
  for (const batch of [
    ['1', '2', '3'],
    ['4', '5', '6'],
    ['7', '8', '9'],
  ]) {
    await append(opened.engine, 'c', batch);
    if (batch[0] !== '7') await opened.engine.flush('c');
  }
  return { fileSystem, ...opened };
}

function sequences(entries: WalEntry[] | undefined): number[] | undefined {
  return entries?.map((entry) => entry.sequence);
}

test('entries come in order from segments and memory alike, whole and unchanged', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  const before = Date.now() * 1000 - 60_000_000;
  const entries = (await engine.read('c', 0, whole)) ?? [];
  for (const [index, entry] of entries.entries()) {
    assert.equal(entry.sequence, index + 1);
    assert.deepEqual([entry.operation, entry.key, entry.payload].map(String), ['INSERT', 'k', String(index + 1)]);
    assert.ok(entry.timestampUs > before && entry.timestampUs < Date.now() * 1000 + 60_000_000);
  }
  assert.equal(entries.length, 9);
  for (let from = 1; from <= 9; from++) {
    const expected = Array.from({ length: 10 - from }, (__, index) => from + index);
    assert.deepEqual(sequences(await engine.read('c', from, whole)), expected);
  }
  await closeEngine(fixture);
});

test('at or beyond the next sequence is empty; an unknown collection is NOTFOUND', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  for (const from of [10, 11, 1_000_000]) assert.deepEqual(await fixture.engine.read('c', from, whole), []);
  await assert.rejects(fixture.engine.read('unknown', 0, whole), { code: 'NOTFOUND', message: /"unknown"/ });
  await assert.rejects(fixture.engine.export('unknown', 0, 1000), { code: 'NOTFOUND' });
  await closeEngine(fixture);
});

test('from 0 is from the first kept; any other at or below the checkpoint is TRIMMED', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  assert.equal(await engine.checkpoint('c', 5), 6);
  assert.deepEqual(sequences(await engine.read('c', 0, whole)), [6, 7, 8, 9]);
  assert.deepEqual(sequences(await engine.read('c', 6, whole)), [6, 7, 8, 9]);
  for (const from of [1, 4, 5]) {
    await assert.rejects(engine.read('c', from, whole), { code: 'TRIMMED', message: /checkpoint 5; read from 6/ });
    await assert.rejects(engine.export('c', from, 1000), { code: 'TRIMMED' });
  }
  await engine.checkpoint('c', 9);
  assert.deepEqual(await engine.read('c', 0, whole), []);
  await closeEngine(fixture);
});

test('COUNT and BYTES bound a reply, which holds one entry at the least', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  for (const count of [1, 2, 4, 8]) {
    assert.equal((await engine.read('c', 2, { count, bytes: 1 << 20 }))?.length, count);
  }
  assert.deepEqual(sequences(await engine.read('c', 2, { count: 100, bytes: 1 })), [2]);
  assert.deepEqual(sequences(await engine.read('c', 8, { count: 100, bytes: 1 })), [8]);
  const one = engine.statistics('c').bytes / 9;
  assert.deepEqual(sequences(await engine.read('c', 2, { count: 100, bytes: 3 * one })), [2, 3, 4]);
  await append(engine, 'c', ['x'.repeat(300_000)]);
  assert.deepEqual(sequences(await engine.read('c', 10, { count: 100, bytes: 10 })), [10]);
  await closeEngine(fixture);
});

test('a blocked read is woken by the publication of its entry, and by no other', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  const blocked = (from: number): Promise<number[] | undefined> =>
    engine.read('c', from, { ...whole, blockMs: 0 }).then(sequences);
  const next = watch(blocked(10));
  const later = watch(blocked(12));
  await append(engine, 'other', ['1']);
  assert.equal(next.outcome, undefined);
  await append(engine, 'c', ['10', '11']);
  await until('woken', () => next.outcome !== undefined);
  assert.deepEqual(next.outcome, [10, 11]);
  assert.equal(later.outcome, undefined);
  await append(engine, 'c', ['12']);
  await until('woken', () => later.outcome !== undefined);
  await closeEngine(fixture);
});

test('a blocked read that has entries already does not wait', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  assert.deepEqual(sequences(await fixture.engine.read('c', 9, { ...whole, blockMs: 0 })), [9]);
  await closeEngine(fixture);
});

test('a blocked read ends with undefined at its time-out and when its connection is gone', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  assert.equal(await engine.read('c', 10, { ...whole, blockMs: 5 }), undefined);
  const gone = new AbortController();
  const waiting = engine.read('c', 10, { ...whole, blockMs: 0, signal: gone.signal });
  gone.abort();
  assert.equal(await waiting, undefined);
  assert.equal(await engine.read('c', 10, { ...whole, blockMs: 0, signal: AbortSignal.abort() }), undefined);
  await closeEngine(fixture);
});

test('a blocked read gets NOTFOUND when the collection is dropped meanwhile', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const waiting = assert.rejects(fixture.engine.read('c', 10, { ...whole, blockMs: 0 }), {
    code: 'NOTFOUND',
    message: /"c" was dropped meanwhile/,
  });
  await fixture.engine.drop('c');
  await waiting;
  await closeEngine(fixture);
});

test('what a read has begun to read stays until it is done, though trimmed or dropped meanwhile (E15)', async () => {
  for (const end of ['checkpoint', 'drop'] as const) {
    const { fileSystem, ...fixture } = await bench();
    const { engine } = fixture;
    const release = fileSystem.hold('read', /disks\/1\/c\//);
    const reading = engine.read('c', 1, whole);
    await new Promise((resolve) => setImmediate(resolve));
    const ended = end === 'drop' ? await engine.drop('c') : await engine.checkpoint('c', 9);
    assert.ok(ended > 0);
    release();
    assert.deepEqual(sequences(await reading), [1, 2, 3, 4, 5, 6, 7, 8, 9], end);
    await closeEngine(fixture);
  }
});

test('a read goes on over a flush that happens under it', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  const release = fileSystem.hold('read', /disks\/1\/c\//);
  const reading = engine.read('c', 1, whole);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await engine.flush('c'), 3);
  release();
  assert.equal((await reading)?.length, 9);
  assert.equal((await engine.read('c', 1, whole))?.length, 9);
  await closeEngine(fixture);
});

test('a damaged segment is DAMAGED with file and offset, below it and above it reads go on (E16)', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine, urls } = fixture;
  const storage = urls[0]?.storage;
  assert.ok(storage);
  const name = 'c/00000000000000000004-00000000000000000006.avro';
  const bytes = await storage.read(name);
  const at = bytes.lastIndexOf('INSERT');
  bytes[at] = 0x58;
  await storage.publish(name, [bytes]);
  await assert.rejects(engine.read('c', 1, whole), { code: 'DAMAGED', message: new RegExp(`${name}.*offset \\d+`) });
  assert.deepEqual(sequences(await engine.read('c', 1, { count: 3, bytes: 1000 })), [1, 2, 3]);
  assert.deepEqual(sequences(await engine.read('c', 7, whole)), [7, 8, 9]);
  assert.equal(await append(engine, 'c', ['10']), 10);
  await closeEngine(fixture);
});

test('a segment that the disk does not give is UNAVAILABLE, one that is gone DAMAGED', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, urls } = fixture;
  fileSystem.failNext('read', /disks\/1\/c\//, 'EIO');
  await assert.rejects(engine.read('c', 1, whole), { code: 'UNAVAILABLE', message: /0001-.*EIO/ });
  assert.equal((await engine.read('c', 1, whole))?.length, 9, 'the next read tries again');
  await urls[0]?.storage?.remove('c', ['00000000000000000001-00000000000000000003.avro']);
  await assert.rejects(engine.read('c', 1, whole), { code: 'DAMAGED' });
  await closeEngine(fixture);
});

test('an export is a container file that stock readers open, about so many bytes, one entry at the least', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  const exported = async (from: number, bytes: number): Promise<unknown[]> => {
    const file = await engine.export('c', from, bytes);
    const values: { sequence?: unknown }[] = [];
    for await (const value of Readable.from([file]).pipe(new avro.streams.BlockDecoder())) values.push(value);
    return values.map((value) => value.sequence);
  };
  assert.deepEqual(await exported(0, 1 << 20), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(await exported(5, 1 << 20), [5, 6, 7, 8, 9]);
  assert.deepEqual(await exported(2, 1), [2]);
  const one = engine.statistics('c').bytes / 9;
  assert.deepEqual(await exported(2, 3 * one), [2, 3, 4]);
  assert.deepEqual(await exported(10, 1000), []);
  await closeEngine(fixture);
});

test('pages of a large collection join without gap or repetition, whatever their size', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const fixture = await openEngine(fileSystem, { urls: 1, configuration: { memoryFlushSizeBytes: 20_000 } });
  const expected: string[] = [];
  for (let batch = 0; batch < 30; batch++) {
    const texts = Array.from({ length: 10 }, (_, index) => `${batch}-${index} ${'x'.repeat(batch * 20)}`);
    await append(fixture.engine, 'c', texts);
    expected.push(...texts);
  }
  assert.deepEqual(await payloads(fixture.engine, 'c'), expected);
  for (const bytes of [1, 500, 7_000, 90_000]) {
    const found: string[] = [];
    for (let from = 1; from <= expected.length; ) {
      const entries = (await fixture.engine.read('c', from, { count: 1000, bytes })) ?? [];
      assert.ok(entries.length > 0);
      found.push(...entries.map((entry) => entry.payload.toString()));
      from += entries.length;
    }
    assert.deepEqual(found, expected, `${bytes} bytes a page`);
  }
  await closeEngine(fixture);
});
