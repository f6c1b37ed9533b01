import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem, type SimulationOptions } from '../storage/simulated.ts';
import {
  append,
  closeEngine,
  type EngineFixture,
  type FixtureOptions,
  openEngine,
  payloads,
  until,
  watch,
} from './engine.fixture.ts';
import { segmentName } from './segment.ts';

const directory = /disks\/1\/c\//;

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

async function bench(options: FixtureOptions = {}, simulation: Partial<SimulationOptions> = {}): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem({ seed: 1, ...simulation });
  return { fileSystem, ...(await openEngine(fileSystem, { urls: 1, ...options })) };
}

async function segmentsOf({ urls }: EngineFixture, collection = 'c'): Promise<string[]> {
  const files = (await urls[0]?.storage?.listFiles(collection)) ?? [];
  return files
    .map((file) => file.name)
    .filter((name) => name.endsWith('.avro'))
    .map((name) => name.replace('.avro', '').split('-').map(Number).join('-'));
}

const range = (count: number): string[] => Array.from({ length: count }, (_, index) => `payload ${index + 1}`);

test('a collection that reaches memory_flush_size_bytes becomes a segment; smaller ones stay in memory (E7)', async () => {
  const fixture = await bench({ configuration: { memoryFlushSizeBytes: 10_000 } });
  const { engine } = fixture;
  await append(engine, 'small', ['x'.repeat(5_000)]);
  await append(engine, 'c', ['x'.repeat(5_000)]);
  assert.deepEqual(await segmentsOf(fixture), []);
  await append(engine, 'c', ['x'.repeat(5_000)]);
  await until('flushed', () => engine.statistics('c').segments === 1);
  assert.deepEqual(await segmentsOf(fixture), ['1-2']);
  const { memoryBytes, bytes, entries } = engine.statistics('c');
  assert.deepEqual([memoryBytes, entries], [0, 2]);
  assert.ok(bytes > 10_000);
  assert.equal(engine.statistics('small').segments, 0);
  await closeEngine(fixture);
});

test('a flush takes what is there; what is appended meanwhile goes into the next one (E8)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['1', '2']);
  const release = fileSystem.hold('write', directory);
  const flushing = engine.flush('c');
  await append(engine, 'c', ['3']);
  assert.deepEqual(await payloads(engine, 'c'), ['1', '2', '3'], 'a flush hides nothing');
  release();
  assert.equal(await flushing, 2);
  assert.equal(await engine.flush('c'), 1);
  assert.equal(await engine.flush('c'), 0);
  assert.deepEqual(await segmentsOf(fixture), ['1-2', '3-3']);
  assert.deepEqual(await payloads(engine, 'c'), ['1', '2', '3']);
  await closeEngine(fixture);
});

for (const operation of ['create', 'write', 'sync', 'rename', 'syncDirectory'] as const) {
  test(`a flush whose ${operation} fails says so and loses nothing: memory holds it, a restart finds it (E8, R3)`, async () => {
    const { fileSystem, ...fixture } = await bench();
    const { engine, urls } = fixture;
    await append(engine, 'c', range(20));
    fileSystem.failNext(operation, operation === 'syncDirectory' ? /disks\/1\/c$/ : directory, 'EIO');
    await assert.rejects(engine.flush('c'), {
      code: 'UNAVAILABLE',
      message: /file:\/\/\/disks\/1.*a flush failed.*EIO/,
    });
    assert.equal(urls[0]?.state, 'Unavailable');
    assert.equal(engine.statistics('c').segments, 0);
    assert.deepEqual(await payloads(engine, 'c'), range(20));
    for (let seed = 0; seed < 8; seed++) {
      const again = await openEngine(fileSystem.crash(seed), { urls: 1 });
      assert.deepEqual(await payloads(again.engine, 'c'), range(20), `seed ${seed}`);
      assert.equal(again.engine.statistics('c').nextSequence, 21);
      await closeEngine(again);
    }
  });
}

test('a flush that finds no room is NOSPACE and is done later by itself or by request', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, urls } = fixture;
  await append(engine, 'c', range(20));
  fileSystem.failNext('write', directory, 'ENOSPC');
  await assert.rejects(engine.flush('c'), { code: 'NOSPACE', message: /file:\/\/\/disks\/1 is full/ });
  assert.equal(urls[0]?.state, 'Full');
  assert.deepEqual(await payloads(engine, 'c'), range(20));
  await until('room again', () => urls[0]?.state === 'Available');
  assert.equal(await engine.flush('c'), 20);
  assert.deepEqual(await segmentsOf(fixture), ['1-20']);
  const names = (await urls[0]?.storage?.list('c'))?.map((entry) => entry.name) ?? [];
  assert.ok(!names.some((name) => name.startsWith('_tmp-')), 'the half-written file is gone');
  await closeEngine(fixture);
});

test('too many open files are no fault of the disk: the flush fails, the URL works on (R3)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, urls } = fixture;
  await append(engine, 'c', range(3));
  fileSystem.failNext('create', directory, 'EMFILE');
  await assert.rejects(engine.flush('c'), { code: 'UNAVAILABLE', message: /EMFILE/ });
  assert.equal(urls[0]?.state, 'Available');
  assert.equal(await append(engine, 'c', ['more']), 4);
  assert.equal(await engine.flush('c'), 4);
  await closeEngine(fixture);
});

test('what is trimmed goes segment by segment, the cut one stays, and one always remains (E11, section 4)', async () => {
  const fixture = await bench();
  const { engine } = fixture;
  for (const batch of [
    ['1', '2'],
    ['3', '4'],
    ['5', '6'],
  ]) {
    await append(engine, 'c', batch);
    await engine.flush('c');
  }
  const settled = async (expected: string[]): Promise<void> => {
    await engine.flush('c');
    assert.deepEqual(await segmentsOf(fixture), expected);
  };
  await engine.checkpoint('c', 3);
  await settled(['3-4', '5-6']);
  await engine.checkpoint('c', 4);
  await settled(['5-6']);
  await engine.checkpoint('c', 6);
  await settled(['7-6']);
  await append(engine, 'c', ['7']);
  await settled(['7-7']);
  await engine.checkpoint('c', 7);
  await settled(['8-7']);
  assert.deepEqual(await payloads(engine, 'c'), []);
  await closeEngine(fixture);
});

test('the entry-free segment is durable before the last other one is deleted (section 4)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['1', '2']);
  await engine.flush('c');
  await engine.checkpoint('c', 2);
  await until('trimmed', () => engine.statistics('c').segments === 1);
  for (let seed = 0; seed < 30; seed++) {
    const storage = (await openEngine(fileSystem.crash(seed), { urls: 1 })).urls[0]?.storage;
    const files = (await storage?.listFiles('c')) ?? [];
    assert.ok(
      files.some((file) => file.name.endsWith('.avro')),
      `seed ${seed}`,
    );
  }
});

test('a checkpoint over entries that were never flushed writes no segment for them', async () => {
  const fixture = await bench();
  const { engine } = fixture;
  await append(engine, 'c', range(10));
  await engine.checkpoint('c', 10);
  await until('freed', () => engine.statistics('c').memoryBytes === 0);
  assert.equal(await engine.flush('c'), 0);
  assert.deepEqual(await segmentsOf(fixture), []);
  assert.equal(engine.budget.totalBytes, 0);
  await closeEngine(fixture);
});

test('a flush of all collections tells the entries of all of them, however many flush at once', async () => {
  const fixture = await bench({ urls: 3 });
  const { engine } = fixture;
  for (let number = 1; number <= 20; number += 1) await append(engine, `collection_${number}`, range(number));
  assert.equal(await engine.flush(undefined), 210);
  assert.equal(await engine.flush(undefined), 0);
  await closeEngine(fixture);
});

test('a flush tells the live entries that it wrote, not those below the checkpoint', async () => {
  const fixture = await bench();
  const { engine } = fixture;
  await append(engine, 'c', range(5));
  await engine.checkpoint('c', 2);
  assert.equal(await engine.flush('c'), 3);
  await append(engine, 'c', range(4));
  assert.equal(await engine.flush('c'), 4);
  await closeEngine(fixture);
});

test('the journal is bounded and freed oldest first; idle collections, states and drops survive that (E9, E12)', async () => {
  const threshold = 256 * 1024;
  const configuration = { globalFlushThresholdBytes: threshold, memoryFlushSizeBytes: 64 * 1024 };
  const { fileSystem, ...fixture } = await bench({ configuration });
  const { engine } = fixture;
  await append(engine, 'idle', ['one', 'two', 'three']);
  await append(engine, 'trimmed', ['one', 'two']);
  await engine.checkpoint('trimmed', 2);
  await append(engine, 'dropped', ['one']);
  await engine.drop('dropped');
  let highest = 0;
  for (let round = 0; round < 60; round++) {
    await append(engine, 'c', ['x'.repeat(50_000)]);
    highest = Math.max(highest, engine.committers[0]?.journal?.bytes ?? 0);
  }
  // One file over the bound is what is being written while the oldest is freed.
  assert.ok(highest <= 2.5 * 2 * threshold, `${highest} bytes`);
  await engine.flush(undefined);
  await until('freed', () => (engine.committers[0]?.journal?.bytes ?? 0) <= 2 * threshold);
  const again = await openEngine(fileSystem.crash(7), { urls: 1, configuration });
  assert.deepEqual(await payloads(again.engine, 'idle'), ['one', 'two', 'three']);
  assert.equal((await payloads(again.engine, 'c')).length, 60);
  const { checkpoint, nextSequence } = again.engine.statistics('trimmed');
  assert.deepEqual([checkpoint, nextSequence], [2, 3]);
  assert.throws(() => again.engine.statistics('dropped'), { code: 'NOTFOUND' });
  await closeEngine(again);
});

test('a damaged collection keeps neither the journal nor the memory from being freed by others (R5, E7, E9)', async () => {
  const threshold = 256 * 1024;
  const configuration = { globalFlushThresholdBytes: threshold, memoryFlushSizeBytes: threshold };
  const first = await bench({ configuration });
  await append(first.engine, 'c', ['1']);
  await append(first.engine, 'bad', ['x'.repeat(60_000), '2']);
  await append(first.engine, 'bad', ['3', '4']);
  await append(first.engine, 'c', ['2']);
  const storage = first.urls[0]?.storage;
  assert.ok(storage);
  const name = `_journal/${first.engine.committers[0]?.journal?.files[0]?.name}`;
  const bytes = await storage.read(name);
  const at = bytes.indexOf('INSERT', bytes.lastIndexOf('bad'));
  bytes[at] = 0x58;
  await storage.publish(name, [bytes]);
  const fixture = await openEngine(first.fileSystem.crash(1), { urls: 1, configuration });
  const { engine } = fixture;
  await assert.rejects(engine.read('bad', 0, { count: 1, bytes: 1 }), { code: 'DAMAGED' });
  for (let round = 0; round < 60; round++) await append(engine, 'c', ['x'.repeat(50_000)]);
  await engine.flush('c');
  await until('freed', () => (engine.committers[0]?.journal?.bytes ?? 0) <= 2 * threshold);
  await closeEngine(fixture);
});

test('flushing a damaged collection is DAMAGED, and does not say that nothing was to be flushed', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'c', ['1']);
  await append(fixture.engine, 'd', ['1']);
  await fixture.urls[0]?.storage?.publish(`c/${segmentName(5, 9)}`, [Buffer.from('{')]);
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  await assert.rejects(again.engine.flush('c'), { code: 'DAMAGED' });
  assert.equal(await again.engine.flush(undefined), 1, 'the others are flushed');
  await closeEngine(again);
});

test('a drop during a flush leaves nothing of either (E12, E13)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, urls } = fixture;
  await append(engine, 'c', ['1', '2']);
  const release = fileSystem.hold('rename', directory);
  const flushing = watch(engine.flush('c'));
  await append(engine, 'c', ['3']);
  assert.equal(await engine.drop('c'), 3);
  const next = append(engine, 'c', ['new']);
  release();
  assert.equal(await next, 1);
  await until('over', () => flushing.outcome !== undefined);
  assert.deepEqual(await segmentsOf(fixture), []);
  assert.deepEqual(await payloads(engine, 'c'), ['new']);
  assert.deepEqual(
    (await urls[0]?.storage?.list('c'))?.map((entry) => entry.name),
    ['_collection.json'],
  );
  await closeEngine(fixture);
});

test('journal files are kept while a drop is not durable yet: a crash before it loses nothing (E12)', async () => {
  const threshold = 64 * 1024;
  const configuration = { globalFlushThresholdBytes: threshold, memoryFlushSizeBytes: threshold };
  const { fileSystem, ...fixture } = await bench({ configuration });
  const { engine } = fixture;
  await append(engine, 'c', range(20));
  await append(engine, 'trimmed', range(2));
  await engine.checkpoint('trimmed', 2);
  // Enough for a second file of the journal.
  await append(engine, 'other', ['x'.repeat(40_000)]);
  await append(engine, 'other', ['x']);
  const committer = engine.committers[0];
  assert.ok(committer?.journal && committer.journal.files.length > 1);
  const release = fileSystem.hold('write', /_journal/);
  const dropping = [watch(engine.drop('c')), watch(engine.drop('trimmed'))];
  await engine.flush('other');
  engine.flusher.freeJournal(committer);
  // Time enough for whoever would free a file.
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(
    dropping.map(({ outcome }) => outcome),
    [undefined, undefined],
  );
  for (let seed = 0; seed < 3; seed++) {
    const again = await openEngine(fileSystem.crash(seed), { urls: 1, configuration });
    assert.deepEqual(await payloads(again.engine, 'c'), range(20));
    assert.equal(again.engine.statistics('trimmed').checkpoint, 2);
    await closeEngine(again);
  }
  release();
  engine.abandon();
});
