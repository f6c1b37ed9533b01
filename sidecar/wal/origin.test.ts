/** What the WAL that this one follows got wrong, each shown to be right here ("What it got wrong" in the facts about it). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { discover } from '../assignment/discovery.ts';
import type { WalError } from '../errors.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { append, closeEngine, type EngineFixture, openEngine, payloads, watch } from './engine.fixture.ts';
import { parseSegmentName } from './segment.ts';

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

async function bench(urls = 1): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  return { fileSystem, ...(await openEngine(fileSystem, { urls })) };
}

function storageOf({ urls }: EngineFixture): Storage {
  const storage = urls[0]?.storage;
  assert.ok(storage);
  return storage;
}

async function appendFields(fixture: EngineFixture, collection: string, ...fields: string[]): Promise<number> {
  const buffers = fields.map((field) => Buffer.from(field));
  return new Promise((resolve, reject) => {
    const done = (error: WalError | undefined, last: number): void => (error ? reject(error) : resolve(last));
    fixture.engine.append(collection, undefined, buffers, done);
  });
}

async function operations(fixture: EngineFixture, collection: string): Promise<string[]> {
  const entries = (await fixture.engine.read(collection, 0, { count: 1000, bytes: 1 << 20 })) ?? [];
  return entries.map(({ operation, key, payload }) => [operation, key, payload].join(' '));
}

test('origin: a second batch failed with "already exists"; here any number follows, flushed in between or not', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  for (let batch = 0; batch < 6; batch++) {
    assert.equal(await append(fixture.engine, 'c', [`${batch} a`, `${batch} b`]), 2 * batch + 2);
    if (batch % 2 === 1) await fixture.engine.flush('c');
  }
  assert.equal((await payloads(fixture.engine, 'c')).length, 12);
  await closeEngine(fixture);
});

test('origin: a failed batch was visible in memory; here nothing of it is read, counted or given a sequence', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'c', ['1']);
  const before = fixture.engine.statistics('c');
  fileSystem.failNext('write', /_journal/, 'ENOSPC');
  await assert.rejects(append(fixture.engine, 'c', ['2', '3']), { code: 'NOSPACE' });
  assert.deepEqual(await payloads(fixture.engine, 'c'), ['1']);
  assert.deepEqual(fixture.engine.statistics('c'), before);
  await closeEngine(fixture);
});

test('origin: single writes never reached a disk, nothing was fsynced; here one entry survives any power cut', async () => {
  const { fileSystem, engine } = await bench();
  await append(engine, 'c', ['the only one']);
  for (let seed = 0; seed < 20; seed++) {
    const again = await openEngine(fileSystem.crash(seed), { urls: 1 });
    assert.deepEqual(await payloads(again.engine, 'c'), ['the only one'], `seed ${seed}`);
    await closeEngine(again);
  }
});

test('origin: write errors were logged and success reported; here the append gets the error', async () => {
  for (const operation of ['write', 'sync'] as const) {
    const { fileSystem, engine } = await bench();
    await append(engine, 'c', ['1']);
    fileSystem.failNext(operation, /_journal/, 'EIO');
    await assert.rejects(append(engine, 'c', ['2']), { code: 'UNAVAILABLE', message: /EIO/ }, operation);
    engine.abandon();
  }
});

/** Appends a batch and flushes it; tells how many calls of the file system the append took. */
async function appendAndFlush(fileSystem: SimulatedFileSystem): Promise<number> {
  const { engine } = await openEngine(fileSystem, { urls: 1 });
  await append(engine, 'c', ['x'.repeat(20_000), 'y'.repeat(20_000)]);
  const appended = fileSystem.operations;
  await engine.flush('c');
  return appended;
}

test('origin: "atomic" was a plain overwrite; here a file is whole under its name, or not there, at every step', async () => {
  const measured = new SimulatedFileSystem({ seed: 1 });
  const appended = await appendAndFlush(measured);
  const found: number[] = [];
  for (let step = appended + 1; step <= measured.operations; step++) {
    const fileSystem = new SimulatedFileSystem({ seed: step });
    fileSystem.crashAt(step);
    watch(appendAndFlush(fileSystem));
    await fileSystem.stopped;
    const again = await openEngine(fileSystem.crash(step), { urls: 1 });
    found.push(again.engine.statistics('c').segments);
    const lengths = (await payloads(again.engine, 'c')).map((payload) => payload.length);
    assert.deepEqual(lengths, [20_000, 20_000], `step ${step}`);
    await closeEngine(again);
  }
  assert.ok(found.includes(0) && found.includes(1), 'some had their segment, some had not');
});

test('origin: there was no checksum; here a byte that changed on the disk is told, in journal and segment', async () => {
  for (const isFlushed of [false, true]) {
    const { fileSystem, ...fixture } = await bench();
    await append(fixture.engine, 'c', ['payload']);
    if (isFlushed) await fixture.engine.flush('c');
    else await append(fixture.engine, 'other', ['behind it']);
    const storage = storageOf(fixture);
    const directory = isFlushed ? 'c' : '_journal';
    const files = await storage.listFiles(directory);
    const path = `${directory}/${files.find(({ name }) => !name.startsWith('_'))?.name}`;
    const bytes = await storage.read(path);
    bytes[bytes.lastIndexOf('payload')] = 0x50;
    await storage.publish(path, [bytes]);
    fixture.engine.abandon();
    const again = await openEngine(fileSystem.crash(1), { urls: 1 });
    await assert.rejects(payloads(again.engine, 'c'), { code: 'DAMAGED' });
    await closeEngine(again);
  }
});

test('origin: a torn tail was not handled; here it is cut, and what is appended afterwards is found again', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'c', ['1']);
  const storage = storageOf(fixture);
  const [file] = await storage.listFiles('_journal');
  const path = `_journal/${file?.name}`;
  const whole = await storage.read(path);
  await append(fixture.engine, 'c', ['2']);
  const torn = await storage.read(path);
  await storage.publish(path, [torn.subarray(0, whole.length + 30)]);
  fixture.engine.abandon();
  const second = fileSystem.crash(1);
  const middle = await openEngine(second, { urls: 1 });
  assert.equal(await append(middle.engine, 'c', ['after']), 2);
  middle.engine.abandon();
  const again = await openEngine(second.crash(2), { urls: 1 });
  assert.deepEqual(await payloads(again.engine, 'c'), ['1', 'after']);
  await closeEngine(again);
});

test('origin: recovery read nothing back and restarted sequences at 0; here both go on', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'flushed', ['1', '2', '3']);
  await fixture.engine.flush('flushed');
  await append(fixture.engine, 'unflushed', ['1', '2']);
  await append(fixture.engine, 'trimmed', ['1']);
  await fixture.engine.checkpoint('trimmed', 1);
  fixture.engine.abandon();
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.deepEqual(await payloads(again.engine, 'flushed'), ['1', '2', '3']);
  assert.deepEqual(await payloads(again.engine, 'unflushed'), ['1', '2']);
  assert.equal(await append(again.engine, 'flushed', ['4']), 4);
  assert.equal(await append(again.engine, 'unflushed', ['3']), 3);
  assert.equal(await append(again.engine, 'trimmed', ['2']), 2);
  await closeEngine(again);
});

test('origin: start-up went on after a failed recovery; here a URL that failed takes nothing until it is recovered', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'c', ['1', '2']);
  fixture.engine.abandon();
  const second = fileSystem.crash(1);
  second.failNext('read', /_journal/, 'EIO');
  const failed = await openEngine(second, { urls: 1 });
  assert.equal(failed.urls[0]?.state, 'Unavailable');
  for (const name of ['c', 'new']) await assert.rejects(append(failed.engine, name, ['x']), { code: 'UNAVAILABLE' });
  failed.engine.abandon();
  const again = await openEngine(second.crash(2), { urls: 1 });
  assert.deepEqual(await payloads(again.engine, 'c'), ['1', '2']);
  assert.deepEqual([...again.engine.collections()], ['c']);
  await closeEngine(again);
});

test('origin: flush wrote one extension, discovery looked for another; here each finds what the other made', async () => {
  const { fileSystem, ...fixture } = await bench();
  await append(fixture.engine, 'c', ['1', '2']);
  await fixture.engine.flush('c');
  const storage = storageOf(fixture);
  const files = (await storage.listFiles('c')).filter(({ name }) => parseSegmentName(name) !== undefined);
  assert.equal(files.length, 1);
  const { collections } = await discover(storage);
  assert.deepEqual(
    collections.map(({ collection }) => collection),
    ['c'],
  );
  // With the journal gone, the segments alone are the log.
  await storage.remove(
    '_journal',
    (await storage.listFiles('_journal')).map(({ name }) => name),
  );
  fixture.engine.abandon();
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.equal(again.engine.statistics('c').segments, 1);
  assert.deepEqual(await payloads(again.engine, 'c'), ['1', '2']);
  await closeEngine(again);
});

test('origin: flush dropped deletes; here every operation is kept as it was sent', async () => {
  const { fileSystem, ...fixture } = await bench();
  const sent = ['INSERT k1 v1', 'UPDATE k1 v2', 'DELETE k1 ', 'DROP_x9 k2 v'];
  await appendFields(fixture, 'c', ...sent.flatMap((entry) => entry.split(' ')));
  assert.equal(await fixture.engine.flush('c'), 4);
  assert.deepEqual(await operations(fixture, 'c'), sent);
  fixture.engine.abandon();
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.deepEqual(await operations(again, 'c'), sent);
  await closeEngine(again);
});

test('origin: small collections were reported as flushed when they were not; here each has its segment', async () => {
  const { fileSystem: _, ...fixture } = await bench(2);
  const names = Array.from({ length: 12 }, (__, index) => `small ${index}`);
  for (const name of names) await append(fixture.engine, name, ['1', '2']);
  assert.equal(await fixture.engine.flush(undefined), 24);
  for (const name of names) {
    const { segments, memoryBytes, entries } = fixture.engine.statistics(name);
    assert.deepEqual([segments, memoryBytes, entries], [1, 0, 2], name);
  }
  assert.equal(await fixture.engine.flush(undefined), 0);
  await closeEngine(fixture);
});

test('origin: a flush cleared other collections’ entries; here they stay in memory and are read', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  for (const name of ['a', 'b', 'c']) await append(fixture.engine, name, [`of ${name}`, `more of ${name}`]);
  const before = fixture.engine.statistics('b');
  assert.equal(await fixture.engine.flush('a'), 2);
  assert.deepEqual(fixture.engine.statistics('b'), before);
  for (const name of ['a', 'b', 'c']) {
    assert.deepEqual(await payloads(fixture.engine, name), [`of ${name}`, `more of ${name}`]);
  }
  await closeEngine(fixture);
});
