import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCollectionFile } from '../assignment/collection-file.ts';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { append, closeEngine, type EngineFixture, openEngine, payloads, until } from './engine.fixture.ts';

const machine = (capacityBytes?: number): SimulatedFileSystem =>
  new SimulatedFileSystem(capacityBytes === undefined ? { seed: 1 } : { seed: 1, capacityBytes });

function storageOf({ urls }: EngineFixture, index = 0): Storage {
  const storage = urls[index]?.storage;
  assert.ok(storage);
  return storage;
}

async function namesIn(storage: Storage, directory: string): Promise<string[]> {
  return (await storage.list(directory)).map((entry) => entry.name);
}

async function journalName(storage: Storage): Promise<string> {
  const name = (await namesIn(storage, '_journal')).findLast((found) => found.endsWith('.journal'));
  assert.ok(name);
  return `_journal/${name}`;
}

/** Turns a byte of the journal's newest file over, `distance` behind the last place where `text` stands. */
async function spoilJournal(storage: Storage, text: string, distance = 0): Promise<void> {
  const path = await journalName(storage);
  const bytes = await storage.read(path);
  const at = bytes.lastIndexOf(text) + distance;
  assert.ok(at >= distance, `${text} stands in ${path}`);
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  await storage.publish(path, [bytes]);
}

async function copyDirectory(from: Storage, to: Storage, directory: string): Promise<void> {
  await to.createDirectory(directory);
  for (const { name } of await from.listFiles(directory)) {
    await to.publish(`${directory}/${name}`, [await from.read(`${directory}/${name}`)]);
  }
}

test('a damaged body stops its collections and no other; the file is set aside, what is there is told (E20, E21)', async () => {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 1 });
  await append(first.engine, 'good', ['g1']);
  await append(first.engine, 'bad', ['b1', 'b2']);
  await append(first.engine, 'good', ['g2']);
  await spoilJournal(storageOf(first), 'b2');
  let next = fileSystem.crash(1);
  for (let restart = 0; restart < 3; restart++) {
    const fixture = await openEngine(next, { urls: 1 });
    const { engine } = fixture;
    assert.deepEqual(await payloads(engine, 'good'), restart === 0 ? ['g1', 'g2'] : ['g1', 'g2', 'g3']);
    if (restart === 0) await append(engine, 'good', ['g3']);
    const damaged = { code: 'DAMAGED', message: /entries 1 to 2 are lost.*file:\/\/\/disks\/1.*drop the collection/ };
    await assert.rejects(payloads(engine, 'bad'), damaged);
    await assert.rejects(append(engine, 'bad', ['b3']), damaged);
    await assert.rejects(engine.checkpoint('bad', 1), damaged);
    await assert.rejects(engine.export('bad', 0, 10), damaged);
    assert.equal([...engine.damages()].length, 1);
    const aside = (await namesIn(storageOf(fixture), '_journal')).filter((name) => name.startsWith('_damaged-'));
    assert.equal(aside.length, 1, `restart ${restart}: ${aside.join()}`);
    next = next.crash(restart);
  }
  const last = await openEngine(next, { urls: 1 });
  await last.engine.drop('bad');
  assert.equal(await append(last.engine, 'bad', ['new']), 1);
  assert.deepEqual(await payloads(last.engine, 'bad'), ['new']);
  await closeEngine(last);
});

test('a damaged header leaves in doubt all but those that later entries prove whole (E20)', async () => {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 1 });
  for (const name of ['hit', 'quiet', 'seen', 'stated']) await append(first.engine, name, ['1']);
  await append(first.engine, 'hit', ['marked place']);
  await append(first.engine, 'seen', ['2']);
  await first.engine.checkpoint('stated', 1);
  // The header stands before the entry: its collection's name in the list.
  const storage = storageOf(first);
  const path = await journalName(storage);
  const bytes = await storage.read(path);
  const at = bytes.lastIndexOf('hit', bytes.indexOf('marked place'));
  bytes[at] = 0x58;
  await storage.publish(path, [bytes]);
  const fixture = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.deepEqual(await payloads(fixture.engine, 'seen'), ['1', '2']);
  assert.equal(fixture.engine.statistics('stated').checkpoint, 1);
  for (const name of ['hit', 'quiet']) {
    await assert.rejects(payloads(fixture.engine, name), {
      code: 'DAMAGED',
      message: /is damaged in .*\.journal at offset \d+, and nothing proves that no entry was lost/,
    });
  }
  await closeEngine(fixture);
});

test('an unclean end is cut; what was written there is not read after a later restart either (E20)', async () => {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 1 });
  await append(first.engine, 'c', ['1']);
  const storage = storageOf(first);
  const path = await journalName(storage);
  await storage.publish(path, [await storage.read(path), Buffer.from('WALF, and then nothing that makes sense')]);
  const second = fileSystem.crash(1);
  const fixture = await openEngine(second, { urls: 1 });
  assert.deepEqual(await payloads(fixture.engine, 'c'), ['1']);
  assert.equal(await append(fixture.engine, 'c', ['2']), 2);
  const again = await openEngine(second.crash(2), { urls: 1 });
  assert.deepEqual(await payloads(again.engine, 'c'), ['1', '2']);
  await closeEngine(again);
});

test('what recovery shows is on the disk, also where it was only in the page cache before (E17)', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const fileSystem = machine();
    const first = await openEngine(fileSystem, { urls: 1 });
    await append(first.engine, 'c', ['1']);
    fileSystem.failNext('sync', /_journal/, 'EIO');
    await assert.rejects(append(first.engine, 'c', ['2']), { code: 'UNAVAILABLE' });
    first.engine.abandon();
    const killed = fileSystem.kill(seed);
    const second = await openEngine(killed, { urls: 1 });
    const shown = await payloads(second.engine, 'c');
    const third = await openEngine(killed.crash(seed), { urls: 1 });
    assert.deepEqual(await payloads(third.engine, 'c'), shown, `seed ${seed}`);
    await closeEngine(third);
  }
});

test('two undropped incarnations stop the collection, and what either had is kept for a person (E22, E21)', async () => {
  const fileSystem = machine();
  const one = await openEngine(fileSystem, { urls: 1 });
  await append(one.engine, 'c', ['one 1', 'one 2']);
  await closeEngine(one);
  const other = machine();
  const two = await openEngine(other, { urls: 1 });
  await append(two.engine, 'c', ['two 1', 'two 2', 'two 3']);
  const start = await openEngine(fileSystem, { urls: 2 });
  await closeEngine(start);
  const [from, to] = [storageOf(two), openFileStorage('file:///disks/2', '/disks/2', fileSystem)];
  for (const directory of ['c', '_journal']) await copyDirectory(from, to, directory);
  const fixture = await openEngine(fileSystem.crash(1), { urls: 2 });
  const { engine } = fixture;
  await assert.rejects(payloads(engine, 'c'), { code: 'DAMAGED', message: /two undropped incarnations/ });
  const all = await Promise.all(
    [0, 1].map(async (index) => {
      const storage = storageOf(fixture, index);
      const names = await namesIn(storage, '_journal');
      return Promise.all(names.map(async (name) => (await storage.read(`_journal/${name}`)).toString('latin1')));
    }),
  );
  assert.ok(
    all.flat().some((content) => content.includes('two 3')),
    'the second one’s entries are not deleted',
  );
  assert.equal(await append(engine, 'd', ['1']), 1, 'others work');
  await closeEngine(fixture);
});

test('an incarnation without entries gives way to one with entries, for good (E22)', async () => {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 1 });
  await append(first.engine, 'c', ['1', '2']);
  const { incarnation } = first.engine.statistics('c');
  const storage = storageOf(first);
  await storage.remove('c', ['_collection.json']);
  await createCollectionFile(storage, {
    collection: 'c',
    incarnation: '0'.repeat(32),
    assignedAt: '2026-01-01T00:00:00Z',
  });
  const fixture = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.deepEqual(await payloads(fixture.engine, 'c'), ['1', '2']);
  assert.equal(fixture.engine.statistics('c').incarnation, incarnation);
  const content = (await storageOf(fixture).read('c/_collection.json')).toString();
  assert.ok(content.includes(incarnation), content);
  assert.equal(await append(fixture.engine, 'c', ['3']), 3);
  await closeEngine(fixture);
});

test('a directory that lost its _collection.json gets it again, with the incarnation that its entries have', async () => {
  for (const isFlushed of [false, true]) {
    const fileSystem = machine();
    const first = await openEngine(fileSystem, { urls: 1 });
    await append(first.engine, 'c', ['1', '2']);
    if (isFlushed) await first.engine.flush('c');
    const { incarnation } = first.engine.statistics('c');
    await storageOf(first).remove('c', ['_collection.json']);
    const fixture = await openEngine(fileSystem.crash(1), { urls: 1 });
    assert.equal(fixture.engine.statistics('c').incarnation, incarnation);
    assert.deepEqual(await payloads(fixture.engine, 'c'), ['1', '2']);
    assert.ok((await storageOf(fixture).read('c/_collection.json')).includes(incarnation));
    await closeEngine(fixture);
  }
});

/** Collection `c` with a segment under the first URL (1–3), and the journal's entries (1–5) under the second, too. */
async function underTwoUrls(): Promise<SimulatedFileSystem> {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 2 });
  await append(first.engine, 'c', ['1', '2', '3']);
  await first.engine.flush('c');
  await append(first.engine, 'c', ['4', '5']);
  await append(first.engine, 'other', ['1']);
  assert.equal(first.engine.statistics('other').url, 'file:///disks/2');
  const [one, two] = [storageOf(first), storageOf(first, 1)];
  await two.remove('_journal', await namesIn(two, '_journal'));
  for (const directory of ['c', '_journal']) await copyDirectory(one, two, directory);
  first.engine.abandon();
  return fileSystem.crash(1);
}

test('one incarnation under two URLs is one collection, whole and without repetition (E23)', async () => {
  let fileSystem = await underTwoUrls();
  for (let restart = 0; restart < 3; restart++) {
    const fixture = await openEngine(fileSystem, { urls: 2 });
    const { engine, assignments } = fixture;
    const expected = Array.from({ length: 5 + restart }, (_, index) => String(index + 1));
    assert.deepEqual(await payloads(engine, 'c'), expected);
    assert.equal(engine.statistics('c').entries, expected.length);
    assert.equal(await append(engine, 'c', [String(6 + restart)]), 6 + restart);
    assert.equal([...assignments.list('wal')].filter(({ collection }) => collection === 'c').length, 1);
    engine.abandon();
    fileSystem = fileSystem.crash(restart);
  }
});

test('a drop of what lies under two URLs clears both, and no restart brings it back (E12, E23)', async () => {
  let fileSystem = await underTwoUrls();
  const fixture = await openEngine(fileSystem, { urls: 2 });
  await fixture.engine.drop('c');
  assert.equal(await append(fixture.engine, 'c', ['new']), 1);
  for (const index of [0, 1]) {
    const files = await namesIn(storageOf(fixture, index), 'c').catch(() => []);
    assert.ok(!files.some((name) => name.endsWith('.avro')), `${index}: ${files.join()}`);
  }
  fixture.engine.abandon();
  for (let restart = 0; restart < 4; restart++) {
    fileSystem = fileSystem.crash(restart);
    const again = await openEngine(fileSystem, { urls: 2 });
    assert.deepEqual(await payloads(again.engine, 'c'), ['new'], `restart ${restart}`);
    again.engine.abandon();
  }
});

test('a drop record outlives entries under a URL that could not be recovered meanwhile (E12, R6)', async () => {
  let fileSystem = await underTwoUrls();
  const fixture = await openEngine(fileSystem, { urls: 2 });
  await fixture.engine.drop('c');
  fixture.engine.abandon();
  for (let restart = 0; restart < 3; restart++) {
    fileSystem = fileSystem.crash(restart);
    fileSystem.failNext('list', /disks\/2\/_journal$/, 'EIO');
    const half = await openEngine(fileSystem, { urls: 2 });
    assert.equal(half.urls[1]?.state, 'Unavailable');
    half.engine.abandon();
  }
  const again = await openEngine(fileSystem.crash(9), { urls: 2 });
  assert.deepEqual([...again.engine.collections()], ['other']);
  await closeEngine(again);
});

test('a URL that fails at the start harms no other; its collections are UNAVAILABLE, not unknown or new (E26, R6)', async () => {
  for (const [operation, pattern] of [
    ['list', /disks\/1$/],
    ['list', /disks\/1\/_journal$/],
    ['read', /disks\/1\/_journal/],
    ['list', /disks\/1\/a$/],
    ['create', /disks\/1\/_journal/],
  ] as const) {
    const fileSystem = machine();
    const first = await openEngine(fileSystem, { urls: 2 });
    await append(first.engine, 'a', ['a1']);
    await append(first.engine, 'b', ['b1']);
    first.engine.abandon();
    const second = fileSystem.crash(1);
    second.failNext(operation, pattern, 'EIO');
    const fixture = await openEngine(second, { urls: 2 });
    const { engine, urls } = fixture;
    const what = `${operation} ${pattern}`;
    assert.equal(urls[0]?.state, 'Unavailable', what);
    assert.match(urls[0]?.reason ?? '', /EIO/, what);
    assert.equal(await append(engine, 'b', ['b2']), 2, what);
    await assert.rejects(append(engine, 'a', ['lost?']), { code: 'UNAVAILABLE', message: /file:\/\/\/disks\/1/ }, what);
    engine.abandon();
    const third = await openEngine(second.crash(2), { urls: 2 });
    assert.deepEqual(await payloads(third.engine, 'a'), ['a1'], what);
    assert.deepEqual(await payloads(third.engine, 'b'), ['b1', 'b2'], what);
    await closeEngine(third);
  }
});

/** Lets everything that can go on go on. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('a URL that hangs at the start is Unavailable after 30 s without progress; the others work (section 5)', async (context) => {
  for (const [operation, pattern] of [
    ['list', /disks\/1$/],
    ['read', /disks\/1\/_journal/],
    ['write', /disks\/1\/_journal/],
    ['sync', /disks\/1\/_journal/],
  ] as const) {
    const fileSystem = machine();
    const first = await openEngine(fileSystem, { urls: 2 });
    await append(first.engine, 'a', ['a1']);
    await append(first.engine, 'b', ['b1']);
    first.engine.abandon();
    const second = fileSystem.crash(1);
    second.hold(operation, pattern);
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const opening = openEngine(second, { urls: 2 });
    await turns(300);
    context.mock.timers.tick(31_000);
    await turns(50);
    const fixture = await opening;
    context.mock.timers.reset();
    assert.equal(fixture.urls[0]?.state, 'Unavailable', operation);
    assert.match(fixture.urls[0]?.reason ?? '', /no progress for 30 s/, operation);
    assert.equal(await append(fixture.engine, 'b', ['b2']), 2, operation);
    fixture.engine.abandon();
  }
});

test('without room for the new epoch the URL is Full: it is read, tries do not eat the rest, and room heals it (E19)', async () => {
  const fileSystem = machine(16 * 1024 * 1024);
  const first = await openEngine(fileSystem, { urls: 1, configuration: { memoryFlushSizeBytes: 64 * 1024 * 1024 } });
  const texts = Array.from({ length: 60 }, (_, index) => `${index} ${'x'.repeat(50_000)}`);
  for (const text of texts) await append(first.engine, 'c', [text]);
  first.engine.abandon();
  const full = fileSystem.crash(1);
  const room = 2 * 1024 * 1024;
  const probe = openFileStorage('file:///disks/1', '/disks/1', full);
  full.capacityBytes -= (await probe.space()).freeBytes - room;
  const fixture = await openEngine(full, { urls: 1 });
  const { engine, urls } = fixture;
  assert.equal(urls[0]?.state, 'Full');
  assert.deepEqual(await payloads(engine, 'c'), texts);
  await assert.rejects(append(engine, 'c', ['more']), { code: 'NOSPACE' });
  for (let attempt = 0; attempt < 3; attempt++) await assert.rejects(engine.checkpoint('c', 1), { code: 'NOSPACE' });
  const { freeBytes } = await storageOf(fixture).space();
  assert.ok(freeBytes >= room - 16 * 1024, `${freeBytes} bytes are left of ${room}`);
  const crashed = await openEngine(full.crash(3), { urls: 1 });
  assert.deepEqual(await payloads(crashed.engine, 'c'), texts, 'the old epoch is not void');
  const roomy = full.crash(4);
  roomy.capacityBytes = 32 * 1024 * 1024;
  const healed = await openEngine(roomy, { urls: 1 });
  assert.equal(await append(healed.engine, 'c', ['more']), 61);
  await closeEngine(healed);
});

test('a Full URL is healed without a restart when there is room (E19)', async () => {
  const fileSystem = machine(4 * 1024 * 1024);
  const first = await openEngine(fileSystem, { urls: 1 });
  const texts = Array.from({ length: 40 }, (_, index) => `${index} ${'x'.repeat(20_000)}`);
  await append(first.engine, 'c', texts);
  first.engine.abandon();
  const full = fileSystem.crash(1);
  const probe = openFileStorage('file:///disks/1', '/disks/1', full);
  full.capacityBytes -= (await probe.space()).freeBytes - 100 * 1024;
  const fixture = await openEngine(full, { urls: 1 });
  assert.equal(fixture.urls[0]?.state, 'Full');
  full.capacityBytes = 8 * 1024 * 1024;
  await until('room again', () => fixture.urls[0]?.state === 'Available');
  assert.equal(await append(fixture.engine, 'c', ['more']), 41);
  assert.deepEqual(await payloads(fixture.engine, 'c'), [...texts, 'more']);
  await closeEngine(fixture);
  const again = await openEngine(full.crash(2), { urls: 1 });
  assert.equal((await payloads(again.engine, 'c')).length, 41);
  await closeEngine(again);
});

test('a segment within another is deleted at the start, and what it had is read once (E11)', async () => {
  const fileSystem = machine();
  const first = await openEngine(fileSystem, { urls: 1 });
  await append(first.engine, 'c', ['1', '2']);
  await first.engine.flush('c');
  const storage = storageOf(first);
  const [small, large] = ['00000000000000000001-00000000000000000002', '00000000000000000001-00000000000000000003'];
  await append(first.engine, 'c', ['3']);
  await storage.publish(`c/${large}.avro`, [await first.engine.export('c', 0, 1000)]);
  first.engine.abandon();
  const fixture = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.deepEqual(await payloads(fixture.engine, 'c'), ['1', '2', '3']);
  const names = await namesIn(storageOf(fixture), 'c');
  assert.ok(names.includes(`${large}.avro`) && !names.includes(`${small}.avro`), names.join());
  assert.equal(fixture.engine.statistics('c').segments, 1);
  await closeEngine(fixture);
});
