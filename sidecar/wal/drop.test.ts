import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { append, closeEngine, openEngine, payloads, until, watch } from './engine.fixture.ts';

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
