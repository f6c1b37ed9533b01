import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { append, closeEngine, openEngine, payloads, until, watch } from './engine.fixture.ts';
import { segmentName } from './segment.ts';

test('a checkpoint overtaken by a drop is NOTFOUND, writes nothing behind the drop, and counts nothing twice (E12)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const opened = await openEngine(fileSystem, { urls: 1 });
  const { engine } = opened;
  await append(engine, 'a', ['1', '2', '3']);
  await engine.flush('a');
  // The checkpoint cuts the segment, and so reads it before it writes its record.
  const release = fileSystem.hold('read', /\.avro$/);
  const checkpoint = watch(engine.checkpoint('a', 2));
  await new Promise((resolve) => setImmediate(resolve));
  const dropped = watch(engine.drop('a'));
  await until('the drop is durable', () => dropped.outcome === 3);
  release();
  await until('the checkpoint is answered', () => checkpoint.outcome !== undefined);
  assert.match(String(checkpoint.outcome), /^NOTFOUND /);
  assert.equal(engine.committers[0]?.liveBytes, 0);
  await closeEngine(opened);
});

test('an append that waited for room while its collection was dropped and made anew is in the new one (E13)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const limit = 1024 * 1024;
  const configuration = { globalFlushThresholdBytes: limit, memoryFlushSizeBytes: limit };
  const opened = await openEngine(fileSystem, { urls: 1, configuration });
  const { assignments, engine } = opened;
  await append(engine, 'a', ['old']);
  await append(engine, 'large', ['x']);
  const release = fileSystem.hold('write', /disks\/1\/large/);
  const filling = Array.from({ length: 3 }, () => append(engine, 'large', ['x'.repeat(500_000)]));
  await until('the memory is full', () => engine.budget.totalBytes > 900_000);
  const waiting = watch(append(engine, 'a', ['new']));
  assert.equal(await engine.drop('a'), 1);
  await assignments.assign('wal', 'a');
  assert.equal(engine.statistics('a').nextSequence, 1);
  release();
  await Promise.all(filling);
  await until('the append is answered', () => waiting.outcome !== undefined);
  assert.equal(waiting.outcome, 1);
  assert.deepEqual(await payloads(engine, 'a'), ['new']);
  await closeEngine(opened);
});

test('what else lies in a dropped collection’s directory is kept aside, and the name is free again (E13)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const opened = await openEngine(fileSystem, { urls: 1 });
  const { engine, urls } = opened;
  const storage = urls[0]?.storage;
  assert.ok(storage);
  await append(engine, 'a', ['old']);
  await engine.flush('a');
  await storage.publish('a/notes.txt', [Buffer.from('by hand')]);
  assert.equal(await engine.drop('a'), 1);
  assert.equal(await append(engine, 'a', ['new']), 1);
  const aside = (await storage.list('')).find(({ name }) => name.startsWith('_left-'));
  assert.ok(aside);
  assert.equal(String(await storage.read(`${aside.name}/notes.txt`)), 'by hand');
  await closeEngine(opened);
  const again = await openEngine(fileSystem, { urls: 1 });
  assert.deepEqual([...again.engine.collections()], ['a']);
  assert.deepEqual(await payloads(again.engine, 'a'), ['new']);
  await closeEngine(again);
});

test('segments of a dropped incarnation beside the next one go by themselves (E12, R1)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const opened = await openEngine(fileSystem, { urls: 1 });
  const { engine, urls } = opened;
  const storage = urls[0]?.storage;
  assert.ok(storage);
  await append(engine, 'a', ['old']);
  await engine.flush('a');
  const name = segmentName(1, 1);
  const old = await storage.read(`a/${name}`);
  assert.equal(await engine.drop('a'), 1);
  assert.equal(await append(engine, 'a', ['new 1', 'new 2']), 2);
  await engine.flush('a');
  // Somebody restores a copy of the old file, and the journal still has the record of the drop.
  await storage.publish(`a/${name}`, [old]);
  engine.abandon();
  opened.assignments.close();
  await storage.unlock();
  const again = await openEngine(fileSystem, { urls: 1 });
  assert.deepEqual(await payloads(again.engine, 'a'), ['new 1', 'new 2']);
  await closeEngine(again);
});

test('a file with the name of a collection’s directory is in the way of that collection alone (E2)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const opened = await openEngine(fileSystem, { urls: 1 });
  const { engine, urls } = opened;
  await append(engine, 'a', ['1']);
  await urls[0]?.storage?.publish('notes', [Buffer.from('by hand')]);
  await assert.rejects(append(engine, 'notes', ['1']), {
    code: 'DAMAGED',
    message: /notes is in the way .* move it away/,
  });
  assert.equal(await append(engine, 'a', ['2']), 2);
  assert.equal(urls[0]?.state, 'Available');
  await urls[0]?.storage?.remove('', ['notes']);
  assert.equal(await append(engine, 'notes', ['1']), 1);
  await closeEngine(opened);
});
