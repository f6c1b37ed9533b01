/** Hot changes of the configuration in a running engine (O6): nothing acknowledged is lost, nothing refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import {
  append,
  closeEngine,
  type EngineFixture,
  type FixtureOptions,
  fixtureConfiguration,
  openEngine,
  payloads,
  until,
  watch,
} from './engine.fixture.ts';
import { segmentName } from './segment.ts';

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

async function bench(options: FixtureOptions = {}): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  return { fileSystem, ...(await openEngine(fileSystem, { urls: 1, ...options })) };
}

test('a lower threshold while appends run: they wait, flushes begin, and nothing is lost or refused (E7, O6)', async () => {
  const fixture = await bench({
    configuration: { globalFlushThresholdBytes: 1_000_000, memoryFlushSizeBytes: 10_000_000 },
  });
  const { engine, fileSystem } = fixture;
  const payload = 'x'.repeat(10_000);
  const names = Array.from({ length: 60 }, (_, index) => `c${index}`);
  for (const name of names) await append(engine, name, [payload]);
  assert.ok(engine.budget.totalBytes > 500_000);
  engine.reconfigure({ ...fixtureConfiguration, globalFlushThresholdBytes: 200_000, memoryFlushSizeBytes: 10_000_000 });
  const appends = names.flatMap((name) => [append(engine, name, [payload]), append(engine, name, [payload])]);
  assert.deepEqual(
    await Promise.all(appends),
    names.flatMap(() => [2, 3]),
  );
  await until('flushed', () => engine.budget.totalBytes <= 150_000);
  const again = await openEngine(fileSystem.crash(0), { urls: 1 });
  for (const name of names) assert.equal((await payloads(again.engine, name)).length, 3);
  await closeEngine(again);
});

test('a higher threshold lets in what waits for room (E7, O6)', async () => {
  const fixture = await bench({
    configuration: { globalFlushThresholdBytes: 100_000, memoryFlushSizeBytes: 10_000_000 },
  });
  const { engine, fileSystem } = fixture;
  await append(engine, 'd', ['x'.repeat(60_000)]);
  await append(engine, 'c', ['first']);
  const release = fileSystem.hold('rename', /disks\/1\/d\//);
  const large = watch(append(engine, 'c', ['y'.repeat(60_000)]));
  await engine.checkpoint('c', 1);
  assert.equal(large.outcome, undefined);
  engine.reconfigure({
    ...fixtureConfiguration,
    globalFlushThresholdBytes: 1_000_000,
    memoryFlushSizeBytes: 10_000_000,
  });
  await until('admitted', () => large.outcome === 2);
  release();
  await closeEngine(fixture);
});

test('a lower flush size, and another compression, hold for what is in memory already (E7, O6)', async () => {
  const fixture = await bench();
  const { engine, urls } = fixture;
  await append(engine, 'c', ['x'.repeat(5_000)]);
  engine.reconfigure({ ...fixtureConfiguration, memoryFlushSizeBytes: 4_000, compression: 'deflate' });
  await until('flushed', () => engine.statistics('c').segments === 1);
  const segment = await urls[0]?.storage?.read(`c/${segmentName(1, 1)}`);
  assert.ok(segment?.includes('deflate') && segment.length < 2_000);
  assert.deepEqual(await payloads(engine, 'c'), ['x'.repeat(5_000)]);
  await closeEngine(fixture);
});

test('a lower threshold bounds the journal anew: files are smaller and the oldest go (E9, O6)', async () => {
  const fixture = await bench({
    configuration: { globalFlushThresholdBytes: 4_000_000, memoryFlushSizeBytes: 100_000 },
  });
  const { engine } = fixture;
  for (let index = 0; index < 100; index++) await append(engine, 'c', ['x'.repeat(10_000)]);
  const journal = engine.committers[0]?.journal;
  assert.ok(journal !== undefined && journal.bytes > 900_000);
  engine.reconfigure({ ...fixtureConfiguration, globalFlushThresholdBytes: 200_000, memoryFlushSizeBytes: 100_000 });
  for (let index = 0; index < 10; index++) await append(engine, 'c', ['x'.repeat(10_000)]);
  await until('freed', () => journal.bytes <= 400_000);
  await closeEngine(fixture);
});

test('another sync interval holds from then on (E24, O6)', async () => {
  const configuration = { syncMode: 'Periodic' as const, syncIntervalMs: 3_600_000 };
  const fixture = await bench({ configuration });
  const { engine, fileSystem, urls } = fixture;
  await append(engine, 'c', ['first']);
  fileSystem.failNext('sync', /_journal/, 'EIO');
  engine.reconfigure({ ...fixtureConfiguration, ...configuration, syncIntervalMs: 5 });
  await until('a sync', () => urls[0]?.state === 'Unavailable');
  await closeEngine(fixture);
});
