import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import type { Component, ManagedUrl } from '../assignment/assignment.ts';
import { AssignmentService } from '../assignment/service.ts';
import { ConfigurationInForce } from '../config/in-force.ts';
import { parse } from '../config/parse.ts';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { SystemClock } from '../wal/clock.ts';
import { append, closeEngine } from '../wal/engine.fixture.ts';
import { WalEngine } from '../wal/engine.ts';
import { reportHoldings } from './holdings.ts';

const file = `
[storage.wal_config]
wal_urls = ["file:///disks/1/wal", "file:///\${DISK}/wal"]
[storage.viper_config]
data_urls = ["file:///\${DISK}/viper"]
`;

test('a pod reports the URLs of all components as the file writes them; its sums are those of the log alone (O7); what waits for a restart is Pending (O6)', async () => {
  const { configuration } = parse(file, { DISK: 'disks/2' });
  assert.ok(configuration !== undefined);
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const manage = (component: Component): ManagedUrl[] =>
    (configuration.components.get(component)?.urls ?? []).map(({ url, path }, index) => {
      const storage = openFileStorage(url, path, fileSystem);
      return { component, index, url, storage, state: 'Recovering', reason: '', id: undefined };
    });
  const [wal, viper] = [manage('wal'), manage('viper')];
  const strategy = 'RoundRobin';
  const logger = pino({ level: 'silent' });
  const assignments = await AssignmentService.open({
    components: new Map([
      ['wal', { urls: wal, strategy }],
      ['viper', { urls: viper, strategy }],
    ]),
    lock: async (storage) => storage.lock('test', 100),
    clock: () => new Date(),
    newId: (() => {
      let last = 0;
      return () => String((last += 1)).padStart(32, '0');
    })(),
    logger,
  });
  const engine = await WalEngine.open({
    urls: wal,
    configuration: configuration.wal,
    assignments,
    clock: new SystemClock(),
    logger,
  });
  for (const name of ['a', 'b', 'c']) await append(engine, name, ['payload']);
  await assignments.assign('viper', 'a');
  const inForce = new ConfigurationInForce({
    configuration,
    hash: 'abc',
    waitingUrls: [],
    thresholdBytesMax: Infinity,
  });
  const newer = file
    .replace('viper"', 'viper", "s3://bucket/viper"')
    .replace('[storage.viper', 'linger_ms = 1\n[storage.viper');
  inForce.take(parse(newer, { DISK: 'disks/2' }));
  const added = inForce.addedUrls.map((url) => ({ ...url, reason: 'restart the pod to use it' }));
  const report = reportHoldings({ engine, assignments, inForce, added });
  assert.deepEqual([report.configHash, report.configError], ['abc', '']);
  assert.deepEqual(
    report.urls.map(({ url, state, collections }) => [url, state, collections]),
    [
      ['file:///disks/1/wal', 'Available', 2],
      ['file:///${DISK}/wal', 'Available', 1],
      ['file:///${DISK}/viper', 'Available', 1],
      ['s3://bucket/viper', 'Pending', 0],
    ],
  );
  const many = Array.from({ length: 200 }, () => added).flat();
  assert.equal(reportHoldings({ engine, assignments, inForce, added: many }).urls.length, 160);
  assert.deepEqual([report.ready, report.collections], [true, 3]);
  assert.equal(
    report.bytes,
    ['a', 'b', 'c'].reduce((sum, name) => sum + engine.statistics(name).bytes, 0),
  );
  assert.equal([...report.assignments].length, 4);
  await closeEngine({ engine, assignments, urls: [...wal, ...viper] });
});
