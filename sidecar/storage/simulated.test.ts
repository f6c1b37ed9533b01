import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemCode } from '../errors.ts';
import { openFileStorage } from './file.ts';
import { Random } from './random.ts';
import { SimulatedFileSystem } from './simulated.ts';
import type { Storage } from './storage.ts';

/** What must hold always is tried with other seeds in each run; what must occur sometimes with the same. */
const runSeed = Date.now() >>> 0;
const fixedSeed = 1;
const rounds = Array.from({ length: 100 }, (_, index) => index);
const bytes = (content: string) => Buffer.from(content);

function machine(options: { shuffled?: boolean; capacityBytes?: number } = {}): SimulatedFileSystem {
  return new SimulatedFileSystem({ seed: fixedSeed, ...options });
}

function mounted(fileSystem: SimulatedFileSystem): Storage {
  return openFileStorage('file:///wal', '/wal', fileSystem);
}

async function started(fileSystem: SimulatedFileSystem): Promise<Storage> {
  const storage = mounted(fileSystem);
  await storage.lock('test', 0);
  return storage;
}

/** What `look` finds after each of a hundred power cuts of the same moment. */
async function afterCrashes<Found>(
  fileSystem: SimulatedFileSystem,
  look: (storage: Storage) => Promise<Found>,
  firstSeed = fixedSeed,
): Promise<Found[]> {
  return await Promise.all(rounds.map((round) => look(mounted(fileSystem.crash(firstSeed + round)))));
}

/** The text of a file, or the code of the error. */
async function text(storage: Storage, path: string): Promise<string> {
  return await storage.read(path).then(
    (content) => content.toString(),
    (error: unknown) => systemCode(error) ?? 'no code',
  );
}

async function distinctTexts(fileSystem: SimulatedFileSystem, path: string): Promise<string[]> {
  const texts = await afterCrashes(fileSystem, (storage) => text(storage, path));
  return [...new Set(texts)].toSorted();
}

/** What the first test made. */
async function everything(after: Storage): Promise<unknown[]> {
  return [
    (await after.list('a')).map((entry) => entry.name),
    (await after.list('a/b')).map((entry) => entry.name),
    await text(after, 'a/b/replaced'),
    await text(after, 'a/b/to'),
    await text(after, 'a/log'),
  ];
}

test(`what a storage reports as done survives every power cut (seed ${runSeed})`, async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  await storage.createDirectory('a/b');
  await storage.publish('a/b/replaced', [bytes('old')]);
  await storage.publish('a/b/replaced', [bytes('new')]);
  await storage.publish('a/b/removed', [bytes('x')]);
  await storage.remove('a/b', ['removed']);
  await storage.publish('a/b/from', [bytes('moved')]);
  await storage.rename('a/b', 'from', 'to');
  await storage.createDirectory('a/gone');
  await storage.removeDirectory('a/gone');
  const log = await storage.createLog('a/log', bytes('header'));
  await log.append([bytes(' one')], true);
  await log.append([bytes(' two')], false);
  await log.append([bytes(' three')], true);
  await log.append([bytes(' four')], false);
  await log.sync();
  const found = await afterCrashes(fileSystem, everything, runSeed);
  const expected = [['b', 'log'], ['replaced', 'to'], 'new', 'moved', 'header one two three four'];
  for (const one of found) assert.deepEqual(one, expected);
});

test(`what was written without a sync is sometimes kept, sometimes lost (seed ${fixedSeed})`, async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  const log = await storage.createLog('log', bytes('header'));
  await log.append([bytes(' tail')], false);
  const texts = await distinctTexts(fileSystem, 'log');
  assert.deepEqual(texts, ['header', 'header\0\0\0\0\0', 'header tail']);
});

test(`each unsynced block of 4 KiB is lost by itself, and lengths in between occur (seed ${fixedSeed})`, async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  const log = await storage.createLog('log', Buffer.alloc(4096, 'h'));
  await log.append([Buffer.alloc(4096, 'a'), Buffer.alloc(4096, 'b'), Buffer.alloc(4096, 'c')], false);
  const contents = await afterCrashes(fileSystem, (after) => after.read('log'));
  const shapes = new Set(contents.map((content) => content.toString('latin1').replaceAll(/(.)\1{4095}/gs, '$1')));
  assert.ok(shapes.has('h\0bc') && shapes.has('habc') && shapes.has('h') && shapes.has('ha'));
  for (const shape of shapes) assert.match(shape, /^h([a\0]([b\0]([c\0])?)?)?$/);
});

test(`unsynced creates, renames, unlinks, mkdir and rmdir are kept or lost one by one (seed ${fixedSeed})`, async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  await storage.createDirectory('empty');
  for (const name of ['unlinked', 'renamed', 'over', 'replaced']) await storage.publish(name, [bytes(name)]);
  await fileSystem.unlink('/wal/unlinked');
  await fileSystem.rename('/wal/renamed', '/wal/other');
  await fileSystem.rename('/wal/over', '/wal/replaced');
  await fileSystem.createDirectory('/wal/made');
  await fileSystem.create('/wal/made/created');
  await fileSystem.removeDirectory('/wal/empty');
  const found = await afterCrashes(fileSystem, async (after) => {
    const names = (await after.list('')).map((entry) => entry.name);
    assert.equal(names.includes('renamed'), !names.includes('other'), 'a rename is done or not');
    assert.equal(await text(after, 'replaced'), names.includes('over') ? 'replaced' : 'over');
    if (names.includes('made')) names.push(...(await after.list('made')).map((entry) => entry.name));
    return names;
  });
  const shares = ['unlinked', 'renamed', 'over', 'made', 'created', 'empty'].map(
    (name) => found.filter((names) => names.includes(name)).length,
  );
  for (const share of shares) assert.ok(share > 5 && share < 95, `each is sometimes there: ${shares.join(' ')}`);
  assert.ok(new Set(found.map((names) => names.join(' '))).size > 15, 'independently of each other');
});

test(`E8: a power cut at any call of a publish leaves the old or the new file, whole (seed ${fixedSeed})`, async () => {
  const [old, young] = ['old'.repeat(3000), 'new'.repeat(4000)];
  const seen = new Set<string>();
  for (let call = 1; call < 20; call += 1) {
    const fileSystem = machine();
    const storage = await started(fileSystem);
    await storage.publish('f', [bytes(old)]);
    fileSystem.crashAt(fileSystem.operations + call);
    const done = await Promise.race([storage.publish('f', [bytes(young)]).then(() => true), fileSystem.stopped]);
    const texts = await distinctTexts(fileSystem, 'f');
    assert.deepEqual(
      texts.filter((found) => found !== old && found !== young),
      [],
    );
    if (done) assert.deepEqual(texts, [young]);
    for (const found of texts) seen.add(found);
  }
  assert.equal(seen.size, 2);
});

test(`a power cut at any call of createLog leaves no log, or one with its whole header (seed ${fixedSeed})`, async () => {
  const header = 'header'.repeat(2000);
  const seen = new Set<string>();
  for (let call = 1; call < 12; call += 1) {
    const fileSystem = machine();
    const storage = await started(fileSystem);
    fileSystem.crashAt(fileSystem.operations + call);
    const done = await Promise.race([storage.createLog('log', bytes(header)).then(() => true), fileSystem.stopped]);
    const texts = await distinctTexts(fileSystem, 'log');
    if (done) assert.deepEqual(texts, [header]);
    for (const found of texts) seen.add(found);
  }
  assert.deepEqual([...seen].toSorted(), ['ENOENT', header]);
});

test(`R1: whatever the moment, every append reported durable is there, in order (seed ${runSeed})`, async () => {
  for (const round of rounds) {
    const seed = runSeed + round;
    const random = new Random(seed);
    const fileSystem = new SimulatedFileSystem({ seed, shuffled: true });
    const storage = await started(fileSystem);
    const log = await storage.createLog('log', bytes('header'));
    let written = 'header';
    let durable = written;
    const work = async () => {
      for (;;) {
        const part = String.fromCharCode(97 + random.below(26)).repeat(1 + random.below(9000));
        const synced = random.coin();
        written += part;
        await log.append([bytes(part)], synced);
        if (random.below(5) === 0) await log.sync();
        else if (!synced) continue;
        durable = written;
      }
    };
    fileSystem.crashAt(fileSystem.operations + 1 + random.below(30));
    await Promise.race([work(), fileSystem.stopped]);
    const found = await text(mounted(fileSystem.crash(seed)), 'log');
    assert.ok(found.startsWith(durable), `seed ${seed}`);
    assert.ok(found.length <= written.length, `seed ${seed}`);
  }
});

test(`E17: after a kill alone everything is seen, but only what is synced then is safe (seed ${fixedSeed})`, async () => {
  const before = machine();
  const storage = await started(before);
  await storage.createDirectory('a');
  const release = before.hold('syncDirectory', /a$/);
  void storage.publish('a/f', [bytes('x')]);
  while ((await text(storage, 'a/f')) !== 'x') await storage.list('a');
  const killed = before.kill(fixedSeed);
  release();
  const successor = await started(killed);
  assert.equal(await text(successor, 'a/f'), 'x');
  assert.deepEqual(await distinctTexts(killed.kill(fixedSeed), 'a/f'), ['ENOENT', 'x']);
});

test('E17: syncDirectory makes names that were only seen safe', async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  await fileSystem.createDirectory('/wal/a');
  const file = await fileSystem.create('/wal/a/f');
  await file.write([bytes('x')]);
  await file.sync();
  await storage.syncDirectory('a');
  assert.deepEqual(await distinctTexts(fileSystem, 'a/f'), ['x']);
});

test('R3: after a failed sync the cache shows the new bytes, the disk keeps the old, and the log is closed to appends', async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  const log = await storage.createLog('log', bytes('header'));
  await log.append([bytes(' good')], true);
  fileSystem.failNext('sync', /log|_tmp/, 'EIO');
  await assert.rejects(log.append([bytes(' lost')], true), (error) => systemCode(error) === 'EIO');
  assert.equal(await text(storage, 'log'), 'header good lost');
  for (const again of [log.append([bytes('x')], true), log.sync(), log.cut(11)]) {
    await assert.rejects(again, /an earlier write or sync failed/);
  }
  const found = await distinctTexts(fileSystem, 'log');
  assert.deepEqual(found, ['header good', 'header good\0\0\0\0\0']);
});

test('R3: a sync that succeeds after a failed one does not bring the lost bytes to the disk', async () => {
  const fileSystem = machine();
  const file = await fileSystem.createAppendFile('/f');
  await fileSystem.syncDirectory('/');
  await file.write([bytes('lost')], 0, false);
  fileSystem.failNext('sync', /f/, 'EIO');
  await assert.rejects(file.sync());
  await file.sync();
  const reader = await fileSystem.crash(fixedSeed).open('/f');
  assert.deepEqual(await reader.read(0, 4), Buffer.alloc(4));
});

test('R3: a publish whose sync fails leaves the old file and no new one', async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  await storage.publish('f', [bytes('old')]);
  fileSystem.failNext('sync', /_tmp/, 'EIO');
  await assert.rejects(storage.publish('f', [bytes('new')]), (error) => systemCode(error) === 'EIO');
  assert.equal(await text(storage, 'f'), 'old');
  assert.deepEqual(await distinctTexts(fileSystem, 'f'), ['old']);
});

test('a full disk: ENOSPC after what fitted; cut, room again, and the log goes on', async () => {
  const fileSystem = machine({ capacityBytes: 5 * 4096 });
  const storage = await started(fileSystem);
  const log = await storage.createLog('log', bytes('header'));
  await log.append([Buffer.alloc(3 * 4096 - 6, 'a')], true);
  await assert.rejects(log.append([Buffer.alloc(8192, 'b')], true), (error) => systemCode(error) === 'ENOSPC');
  assert.equal(log.writtenBytes, 4 * 4096);
  await assert.rejects(log.append([bytes('x')], true), /cut it first/);
  await assert.rejects(storage.publish('f', [Buffer.alloc(4097)]), (error) => systemCode(error) === 'ENOSPC');
  await log.cut(3 * 4096);
  const { freeBytes, totalBytes } = await storage.space();
  assert.deepEqual([freeBytes, totalBytes], [4096, 5 * 4096]);
  fileSystem.capacityBytes += 4096;
  await log.append([Buffer.alloc(8192, 'c')], true);
  const found = await distinctTexts(fileSystem, 'log');
  assert.deepEqual(found, [`header${'a'.repeat(3 * 4096 - 6)}${'c'.repeat(8192)}`]);
});

test('a stopped machine answers nothing, neither calls under way nor later ones', async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  let answers = 0;
  const count = () => {
    answers += 1;
  };
  void storage.list('').then(count, count);
  fileSystem.crash(fixedSeed);
  void storage.list('').then(count, count);
  await fileSystem.stopped;
  const successor = machine();
  for (let call = 0; call < 20; call += 1) await successor.list('/');
  assert.equal(answers, 0);
});

test('held calls wait, others pass, and a release lets them go', async () => {
  const fileSystem = machine();
  const storage = await started(fileSystem);
  const release = fileSystem.hold('sync', /_tmp/);
  let published = false;
  const publish = storage.publish('f', [bytes('x')]).then(() => {
    published = true;
  });
  await storage.createDirectory('a');
  for (let call = 0; call < 20; call += 1) await storage.list('');
  assert.equal(published, false);
  release();
  await publish;
});

/** In which order ten calls end, and what a power cut leaves of them. */
async function tenCreates(seed: number): Promise<string> {
  const fileSystem = new SimulatedFileSystem({ seed, shuffled: true });
  const done: number[] = [];
  const calls = Array.from({ length: 10 }, (_, index) => fileSystem.create(`/${index}`).then(() => done.push(index)));
  await Promise.all(calls);
  const left = await fileSystem.crash(seed).list('/');
  return `${done.join(' ')} ${left.map((entry) => entry.name).join(' ')}`;
}

test('the same seed gives the same order of calls and the same crash, another seed another', async () => {
  assert.equal(await tenCreates(1), await tenCreates(1));
  assert.notEqual(await tenCreates(1), await tenCreates(2));
});
