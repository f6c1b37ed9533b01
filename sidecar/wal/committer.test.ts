import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Collector } from '../journal/journal.fixture.ts';
import { replayJournal } from '../journal/replay.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import {
  append,
  closeEngine,
  type EngineFixture,
  type FixtureOptions,
  openEngine,
  payloads,
  TurnedClock,
  until,
  watch,
} from './engine.fixture.ts';

const journal = /_journal/;
const firstJournal = /disks\/1\/_journal/;

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

/** An engine whose collections `a` and `b` live under the first and the second URL. */
async function bench(options: FixtureOptions = {}, capacityBytes?: number): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem(capacityBytes === undefined ? { seed: 1 } : { seed: 1, capacityBytes });
  const opened = await openEngine(fileSystem, options);
  await append(opened.engine, 'a', ['a1']);
  await append(opened.engine, 'b', ['b1']);
  assert.equal(opened.engine.statistics('a').url, 'file:///disks/1');
  return { fileSystem, ...opened };
}

/** What a new process finds. */
async function reopened(fileSystem: SimulatedFileSystem, options: FixtureOptions = {}): Promise<EngineFixture> {
  return openEngine(fileSystem, options);
}

test('appends of one turn share a frame; those that come during a commit share the next (E1)', async () => {
  const { engine, fileSystem, urls, ...rest } = await bench();
  const release = fileSystem.hold('write', firstJournal);
  const first = append(engine, 'a', ['a2']);
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  await new Promise((resolve) => setImmediate(resolve));
  const others = Array.from({ length: 50 }, (_, index) => append(engine, 'a', [`a${index + 3}`]));
  release();
  assert.deepEqual(
    await Promise.all([first, ...others]),
    Array.from({ length: 51 }, (_, index) => index + 2),
  );
  const storage = urls[0]?.storage;
  assert.ok(storage);
  const { handler } = await replayJournal(storage, () => new Collector());
  const batches = handler?.headers.map((header) => header.batches.length).filter((count) => count > 0);
  assert.deepEqual(batches, [1, 1, 50]);
  await closeEngine({ engine, urls, ...rest });
});

test('nothing is answered, readable or counted before it is durable (R2)', async () => {
  const { engine, fileSystem, ...rest } = await bench();
  const before = engine.statistics('a');
  const release = fileSystem.hold('write', firstJournal);
  const appended = watch(append(engine, 'a', ['a2', 'a3']));
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  const read = watch(engine.read('a', 2, { count: 10, bytes: 1000, blockMs: 0 }));
  assert.deepEqual(await payloads(engine, 'a'), ['a1']);
  assert.deepEqual(engine.statistics('a'), before);
  assert.deepEqual([appended.outcome, read.outcome], [undefined, undefined]);
  release();
  await until('answered', () => appended.outcome !== undefined && read.outcome !== undefined);
  assert.equal(appended.outcome, 3);
  assert.equal(engine.statistics('a').nextSequence, 4);
  await closeEngine({ engine, ...rest });
});

test('pipelined next-seq appends get their places without waiting for one another (next-seq)', async () => {
  const { engine, ...rest } = await bench();
  const replies = await Promise.all([
    append(engine, 'new', ['1', '2', '3'], 1),
    append(engine, 'new', ['4'], 4),
    append(engine, 'new', ['5', '6'], 5),
    append(engine, 'new', ['7'], 7),
  ]);
  assert.deepEqual(replies, [3, 4, 6, 7]);
  assert.deepEqual(await payloads(engine, 'new'), ['1', '2', '3', '4', '5', '6', '7']);
  await closeEngine({ engine, ...rest });
});

test('another next-seq is CONFLICT with the actual next, on a new collection too; nothing of it is in the log', async () => {
  const { engine, ...rest } = await bench();
  for (const wrong of [1, 3, 9, 0]) {
    await assert.rejects(append(engine, 'a', ['no'], wrong), { code: 'CONFLICT', message: '2' });
  }
  await assert.rejects(append(engine, 'new', ['no'], 2), { code: 'CONFLICT', message: '1' });
  assert.equal(await append(engine, 'a', ['a2'], 2), 2);
  assert.deepEqual(await payloads(engine, 'a'), ['a1', 'a2']);
  await closeEngine({ engine, ...rest });
});

test('CONFLICT is answered only when everything below its number is durable (next-seq)', async () => {
  const { engine, fileSystem, ...rest } = await bench();
  const release = fileSystem.hold('write', firstJournal);
  const lost = watch(append(engine, 'a', ['a2', 'a3'], 2));
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  // The client lost its connection and sends the same again.
  const retried = watch(append(engine, 'a', ['a2', 'a3'], 2));
  const other = await append(engine, 'b', ['b2']);
  assert.equal(other, 2);
  assert.deepEqual([lost.outcome, retried.outcome], [undefined, undefined]);
  release();
  await until('answered', () => retried.outcome !== undefined);
  assert.deepEqual([lost.outcome, retried.outcome], [3, 'CONFLICT 4']);
  await closeEngine({ engine, ...rest });
});

test('CONFLICT is answered although other writers never pause', async () => {
  const { engine, ...rest } = await bench();
  let isOver = false;
  const fields = [Buffer.from('INSERT'), Buffer.from('k'), Buffer.from('x')];
  const goOn = (): void => {
    if (!isOver) engine.append('a', undefined, fields, goOn);
  };
  // Two in turn: one is given a sequence before the other is durable.
  goOn();
  await new Promise((resolve) => setImmediate(resolve));
  goOn();
  goOn();
  const startedMs = performance.now();
  await assert.rejects(append(engine, 'a', ['no'], 1), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'CONFLICT');
    assert.ok(Number(error.message) > 1);
    return true;
  });
  assert.ok(performance.now() - startedMs < 5_000);
  isOver = true;
  await closeEngine({ engine, ...rest });
});

test('a waiting CONFLICT is judged anew when sequences are taken back, here by the full disk (E5)', async () => {
  const { engine, fileSystem, ...rest } = await bench();
  const release = fileSystem.hold('write', firstJournal);
  fileSystem.failNext('write', firstJournal, 'ENOSPC');
  const failing = watch(append(engine, 'a', ['a2'], 2));
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  const retried = watch(append(engine, 'a', ['a2'], 2));
  release();
  await until('answered', () => failing.outcome !== undefined && retried.outcome !== undefined);
  assert.match(String(failing.outcome), /^NOSPACE/);
  // The disk is full for it, too; never CONFLICT with a number that was taken back.
  assert.match(String(retried.outcome), /^NOSPACE|^2$/);
  await until('room again', () => rest.urls[0]?.state === 'Available');
  assert.equal(await append(engine, 'a', ['a2'], 2), 2);
  await closeEngine({ engine, ...rest });
});

test('a waiting CONFLICT gets UNAVAILABLE after 30 s, and so does what waits for room (E5, E7)', async () => {
  const clock = new TurnedClock();
  const { engine, fileSystem, ...rest } = await bench({ clock });
  const release = fileSystem.hold('write', firstJournal);
  const inFlight = watch(append(engine, 'a', ['a2'], 2));
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  const waiting = watch(append(engine, 'a', ['a2'], 2));
  clock.turn(31_000);
  await until('answered', () => waiting.outcome !== undefined);
  assert.match(String(waiting.outcome), /^UNAVAILABLE the append waited 30 s for file:\/\/\/disks\/1/);
  assert.equal(inFlight.outcome, undefined);
  release();
  await until('answered', () => inFlight.outcome !== undefined);
  await closeEngine({ engine, ...rest });
});

for (const [what, operation] of [
  ['write', 'write'],
  ['synced write', 'sync'],
] as const) {
  test(`after a failed ${what} every unanswered append of the URL gets the error; other URLs work on (R3, E4)`, async () => {
    const { engine, fileSystem, urls, ...rest } = await bench();
    fileSystem.failNext(operation, firstJournal, 'EIO');
    const release = fileSystem.hold('write', firstJournal);
    const inFlight = append(engine, 'a', ['a2']);
    await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
    const behind = append(engine, 'a', ['a3']);
    const conflicting = append(engine, 'a', ['a9'], 9);
    const checkpoint = engine.checkpoint('a', 1);
    const all = Promise.allSettled([inFlight, behind, conflicting, checkpoint]);
    release();
    for (const result of await all) {
      assert.equal(result.status, 'rejected');
      assert.equal(result.reason.code, 'UNAVAILABLE');
      assert.match(result.reason.message, /file:\/\/\/disks\/1/);
    }
    assert.equal(urls[0]?.state, 'Unavailable');
    assert.match(urls[0]?.reason ?? '', /file:\/\/\/disks\/1: writing .* failed \(EIO/);
    await assert.rejects(append(engine, 'a', ['a2']), { code: 'UNAVAILABLE' });
    assert.equal(await append(engine, 'b', ['b2']), 2, 'the other URL works on');
    assert.deepEqual(await payloads(engine, 'a'), ['a1'], 'memory is read while it holds');
    assert.equal(engine.statistics('a').nextSequence, 2, 'the sequences are given out again');
    await closeEngine({ engine, urls, ...rest });
    const again = await reopened(fileSystem.crash(3));
    const found = await payloads(again.engine, 'a');
    assert.ok(found.length <= 2 && found[0] === 'a1', found.join());
    assert.deepEqual(await payloads(again.engine, 'b'), ['b1', 'b2']);
    await closeEngine(again);
  });
}

test('a full disk: NOSPACE, nothing of it in the log, reads go on, and appends too once there is room (R1)', async () => {
  const { engine, fileSystem, urls, ...rest } = await bench({}, 1024 * 1024);
  const space = await urls[0]?.storage?.space();
  fileSystem.capacityBytes = 1024 * 1024 - (space?.freeBytes ?? 0) + 8 * 1024;
  const batch = Array.from({ length: 20 }, () => 'x'.repeat(1000));
  await assert.rejects(append(engine, 'a', batch), { code: 'NOSPACE', message: /file:\/\/\/disks\/1 is full/ });
  assert.equal(urls[0]?.state, 'Full');
  await assert.rejects(append(engine, 'a', ['a2']), { code: 'NOSPACE' });
  await assert.rejects(append(engine, 'a', ['a2'], 2), { code: 'NOSPACE' });
  assert.deepEqual(await payloads(engine, 'a'), ['a1']);
  assert.equal(engine.statistics('a').nextSequence, 2);
  fileSystem.capacityBytes = 1024 * 1024;
  await until('there is room again', () => urls[0]?.state === 'Available');
  assert.equal(await append(engine, 'a', ['a2'], 2), 2);
  await closeEngine({ engine, urls, ...rest });
  const again = await reopened(fileSystem.crash(4));
  assert.deepEqual(await payloads(again.engine, 'a'), ['a1', 'a2']);
  await closeEngine(again);
});

test('batches fail whole: of a failed commit no entry is read after a restart without the others (R1)', async () => {
  for (let seed = 0; seed < 10; seed++) {
    const { engine, fileSystem, ...rest } = await bench();
    void rest;
    const batch = Array.from({ length: 30 }, (_, index) => `${index} ${'y'.repeat(800)}`);
    const release = fileSystem.hold('sync', firstJournal);
    watch(append(engine, 'a', batch));
    await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
    fileSystem.crashAt(fileSystem.operations + 1);
    release();
    await fileSystem.stopped;
    const again = await reopened(fileSystem.crash(seed));
    const found = await payloads(again.engine, 'a');
    assert.ok(found.length === 1 || found.length === 31, `seed ${seed}: ${found.length}`);
    await closeEngine(again);
  }
});

test('a commit of over a second makes the URL Stalled: nothing is assigned there, appends wait, reads go on', async () => {
  const clock = new TurnedClock();
  const { engine, fileSystem, urls, ...rest } = await bench({ clock });
  const release = fileSystem.hold('write', firstJournal);
  const slow = append(engine, 'a', ['a2']);
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  clock.turn(1_500);
  await until('stalled', () => urls[0]?.state === 'Stalled');
  const waiting = append(engine, 'a', ['a3']);
  assert.deepEqual(await payloads(engine, 'a'), ['a1']);
  for (const name of ['c', 'd', 'e']) {
    await append(engine, name, ['1']);
    assert.equal(engine.statistics(name).url, 'file:///disks/2', name);
  }
  release();
  assert.deepEqual(await Promise.all([slow, waiting]), [2, 3]);
  assert.equal(urls[0]?.state, 'Stalled', 'one good commit proves nothing');
  clock.turn(16_000);
  await append(engine, 'a', ['a4']);
  await until('available', () => urls[0]?.state === 'Available');
  await closeEngine({ engine, urls, ...rest });
});

test('a Stalled URL that nobody writes to becomes Available, or nothing could ever be assigned there again', async () => {
  const clock = new TurnedClock();
  const { engine, fileSystem, urls, ...rest } = await bench({ clock, urls: 1 });
  const release = fileSystem.hold('write', firstJournal);
  const slow = append(engine, 'a', ['a2']);
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === 1);
  clock.turn(1_500);
  await until('stalled', () => urls[0]?.state === 'Stalled');
  release();
  await slow;
  await assert.rejects(append(engine, 'new', ['1']), { code: 'UNAVAILABLE' });
  clock.turn(16_000);
  await until('available', () => urls[0]?.state === 'Available');
  assert.equal(await append(engine, 'new', ['1']), 1);
  await closeEngine({ engine, urls, ...rest });
});

test('unflushed bytes stay within the bound while many collections are written to, and nothing is refused (E7)', async () => {
  const limit = 2 * 1024 * 1024;
  const { engine, ...rest } = await bench({
    configuration: { globalFlushThresholdBytes: limit, memoryFlushSizeBytes: limit },
  });
  let highest = 0;
  for (let round = 0; round < 12; round++) {
    const appends = Array.from({ length: 60 }, (_, index) => append(engine, `c${index}`, ['z'.repeat(20_000)]));
    await Promise.all(appends);
    const unflushed = [...engine.collections()].reduce((sum, name) => sum + engine.statistics(name).memoryBytes, 0);
    highest = Math.max(highest, unflushed);
  }
  assert.ok(highest <= limit, `${highest} bytes were unflushed`);
  assert.equal((await payloads(engine, 'c7')).length, 12);
  await closeEngine({ engine, ...rest });
});

test('an append larger than the room that is left makes room by flushing, and does not wait in vain (E7)', async () => {
  const limit = 1024 * 1024;
  const { engine, ...rest } = await bench({
    configuration: { globalFlushThresholdBytes: limit, memoryFlushSizeBytes: limit },
  });
  // Below 75 % of the bound, where flushing begins by itself.
  for (const name of ['a', 'b', 'c']) await append(engine, name, ['x'.repeat(200_000)]);
  assert.equal(
    engine.budget.excessBytes(() => true),
    0,
  );
  const large = watch(append(engine, 'a', ['y'.repeat(600_000)]));
  await until('answered', () => large.outcome !== undefined);
  assert.equal(large.outcome, 3);
  await closeEngine({ engine, ...rest });
});

test('waiting appends keep their order, also where small ones would fit before large ones (R1)', async () => {
  const limit = 1024 * 1024;
  const { engine, fileSystem, ...rest } = await bench({
    configuration: { globalFlushThresholdBytes: limit, memoryFlushSizeBytes: limit },
  });
  const release = fileSystem.hold('write', firstJournal);
  const sizes = [400_000, 400_000, 700_000, 10, 400_000, 10];
  const replies = sizes.map((size, index) => append(engine, 'a', [`${index} ${'x'.repeat(size)}`]));
  await until('the commit is under way', () => engine.committers[0]?.pendingAppends === sizes.length);
  release();
  assert.deepEqual(await Promise.all(replies), [2, 3, 4, 5, 6, 7]);
  const found = await payloads(engine, 'a');
  assert.deepEqual(
    found.slice(1).map((payload) => payload.split(' ')[0]),
    ['0', '1', '2', '3', '4', '5'],
  );
  await closeEngine({ engine, ...rest });
});

test('a shutdown comes to its end when what waited was refused (E24)', async () => {
  const clock = new TurnedClock();
  const limit = 1024 * 1024;
  const { engine, fileSystem, ...rest } = await bench({
    clock,
    configuration: { globalFlushThresholdBytes: limit, memoryFlushSizeBytes: limit },
  });
  await append(engine, 'a', ['x'.repeat(700_000)]);
  const release = fileSystem.hold('create', /disks\/1\/a/);
  const waiting = watch(append(engine, 'a', ['y'.repeat(700_000)]));
  await until('it waits', () => engine.committers[0]?.pendingAppends === 1);
  const closed = watch(engine.committers[0]?.idle().then(() => 'idle') ?? Promise.resolve());
  clock.turn(31_000);
  await until('it is refused', () => waiting.outcome !== undefined);
  assert.match(String(waiting.outcome), /^UNAVAILABLE/);
  await until('idle', () => closed.outcome !== undefined);
  release();
  await closeEngine({ engine, ...rest });
});

test('checkpoint and drop on a full disk are tried, and refused with NOSPACE only where they find no room', async () => {
  const { engine, fileSystem, urls, ...rest } = await bench();
  fileSystem.failNext('write', journal, 'ENOSPC');
  await assert.rejects(append(engine, 'a', ['a2']), { code: 'NOSPACE' });
  assert.equal(urls[0]?.state, 'Full');
  assert.equal(await engine.checkpoint('a', 1), 2);
  assert.equal(await engine.drop('a'), 0);
  await closeEngine({ engine, urls, ...rest });
});
