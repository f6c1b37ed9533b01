import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Configuration } from './configuration.ts';
import { ConfigurationInForce, type StartedWith } from './in-force.ts';
import { type Parsed, parse } from './parse.ts';

const mebibyte = 1024 * 1024;

function file(wal: string, more = '', head = ''): Parsed {
  return parse(`${head}\n[storage.wal_config]\n${wal}\n${more}`, {});
}

function configurationOf({ configuration, problems }: Parsed): Configuration {
  assert.ok(configuration, JSON.stringify(problems));
  return configuration;
}

const d1 = 'wal_urls = ["file:///d1"]';
const both = 'wal_urls = ["file:///d1", "file:///d2"]';

function startedWith(parsed: Parsed, more: Partial<StartedWith> = {}): ConfigurationInForce {
  const configuration = configurationOf(parsed);
  return new ConfigurationInForce({
    configuration,
    hash: parsed.hash,
    waitingUrls: [],
    thresholdBytesMax: Infinity,
    ...more,
  });
}

test('O6: what is hot is in force at once, and the file as a whole where nothing else differs', () => {
  const inForce = startedWith(file(d1));
  const next = file(
    `${d1}\nmemory_flush_size_bytes = 4096\nlinger_ms = 7\ncompression = "zstd"\ndistribution_strategy = "Hash"`,
  );
  const taken = inForce.take(next);
  assert.deepEqual(taken?.hot.map((key) => key.replace('storage.wal_config.', '')).toSorted(), [
    'compression',
    'distribution_strategy',
    'linger_ms',
    'memory_flush_size_bytes',
  ]);
  assert.deepEqual(inForce.configuration, configurationOf(next));
  assert.equal(inForce.hash, next.hash);
  assert.deepEqual([taken?.pending, inForce.pendingKeys, inForce.error], [[], [], '']);
});

test('O6: what needs a restart stays as it is, is named once, and the hash stays the old one until it is gone', () => {
  const old = file(both);
  const inForce = startedWith(old);
  const next = file('wal_urls = ["file:///d1", "file:///d3"]\nsync_mode = "Never"\nlinger_ms = 7');
  const keys = ['storage.wal_config.wal_urls', 'storage.wal_config.sync_mode'];
  assert.deepEqual(inForce.take(next), { hot: ['storage.wal_config.linger_ms'], pending: keys });
  const { wal } = inForce.configuration;
  assert.deepEqual(
    [wal.urls.map(({ url }) => url), wal.syncMode, wal.lingerMs],
    [['file:///d1', 'file:///d2'], 'Always', 7],
  );
  assert.deepEqual(inForce.configuration.components.get('wal'), wal);
  assert.deepEqual([inForce.hash, inForce.pendingKeys], [old.hash, keys]);
  assert.deepEqual(
    inForce.addedUrls.map(({ component, url }) => [component, url.url]),
    [['wal', 'file:///d3']],
  );
  assert.deepEqual(inForce.take(next), { hot: [], pending: [] });
  const back = file(`${both}\nlinger_ms = 8`);
  assert.deepEqual(inForce.take(back), { hot: ['storage.wal_config.linger_ms'], pending: [] });
  assert.deepEqual([inForce.hash, inForce.pendingKeys, inForce.addedUrls], [back.hash, [], []]);
});

test('O6: a component that is new, or gone, waits for a restart', () => {
  const viper = '[storage.viper_config]\ndata_urls = ["file:///v"]';
  const inForce = startedWith(file(d1));
  assert.deepEqual(inForce.take(file(d1, viper))?.pending, ['storage.viper_config.data_urls']);
  assert.deepEqual(
    inForce.addedUrls.map(({ component, url }) => [component, url.url]),
    [['viper', 'file:///v']],
  );
  assert.equal(inForce.configuration.components.has('viper'), false);
  const other = startedWith(file(d1, viper));
  assert.deepEqual(other.take(file(d1))?.pending, ['storage.viper_config.data_urls']);
  assert.deepEqual([other.configuration.components.has('viper'), other.addedUrls], [true, []]);
});

const viperWith = (strategy: string): string =>
  `[storage.viper_config]\ndata_urls = ["file:///v"]\ndistribution_strategy = "${strategy}"`;

test('O6: the strategy of each component is hot', () => {
  const inForce = startedWith(file(d1, viperWith('Hash')));
  const next = file(d1, viperWith('RoundRobin'));
  assert.deepEqual(inForce.take(next), { hot: ['storage.viper_config.distribution_strategy'], pending: [] });
  assert.equal(inForce.configuration.components.get('viper')?.distributionStrategy, 'RoundRobin');
  assert.deepEqual([inForce.hash, inForce.configuration.wal.distributionStrategy], [next.hash, 'LoadBalanced']);
});

test('a bad file changes nothing but the error, which names key, rule and remedy in at most 1 KiB and shows no secret', () => {
  const old = file(d1);
  const inForce = startedWith(old);
  assert.equal(inForce.take(file(`${d1}\nglobal_flush_threshold = 7\nsecret_key = "hunter2"`)), undefined);
  assert.match(
    inForce.error,
    / \| storage\.wal_config\.global_flush_threshold = 7: must be at least 134217728 bytes; write /,
  );
  assert.ok(!inForce.error.includes('hunter2'));
  assert.deepEqual([inForce.configuration, inForce.hash], [configurationOf(old), old.hash]);
  const many = Array.from({ length: 32 }, (_, index) => `"größe://${index}"`);
  assert.equal(inForce.take(file(`wal_urls = [${many.join(', ')}]`)), undefined);
  const bytes = Buffer.byteLength(inForce.error);
  assert.ok(bytes <= 1024 && bytes > 1000, `${bytes}`);
  assert.ok(inForce.error.endsWith('…') && !inForce.error.includes('\uFFFD'));
  assert.deepEqual(inForce.take(old), { hot: [], pending: [] });
  assert.deepEqual([inForce.error, inForce.hash], ['', old.hash]);
});

test('a file that asks for what this version lacks is bad, too', () => {
  const inForce = startedWith(file(d1));
  assert.equal(inForce.take(file(`${d1}\ncollection_affinity = false`)), undefined);
  assert.match(inForce.error, /collection_affinity = false: collections that move between URLs are not supported/);
});

const rendered = (version: string, wal: string): Parsed => file(wal, '', `rendered_by = "${version}"`);

test('version skew: unknown keys of a newer operator warn, and the rest is in force', () => {
  const inForce = startedWith(rendered('0.1.0', d1));
  const next = rendered('0.9.0', `${d1}\nlinger_ms = 7\ntiered_storage = true\nfailover = "x"`);
  assert.deepEqual(next.warnings.map(({ keyPath }) => keyPath).toSorted(), [
    'storage.wal_config.failover',
    'storage.wal_config.tiered_storage',
  ]);
  assert.deepEqual(inForce.take(next), { hot: ['storage.wal_config.linger_ms'], pending: [] });
  assert.deepEqual([inForce.hash, inForce.configuration.renderedBy], [next.hash, '0.9.0']);
});

test('O5: while URLs of the start wait for mounts no file is in force as a whole, hot changes all the same', () => {
  const inForce = startedWith(file(both), { waitingUrls: ['file:///d2'] });
  assert.equal(inForce.hash, '');
  assert.deepEqual(inForce.take(file(`${both}\nlinger_ms = 7`)), {
    hot: ['storage.wal_config.linger_ms'],
    pending: [],
  });
  assert.deepEqual([inForce.hash, inForce.configuration.wal.lingerMs, inForce.addedUrls], ['', 7, []]);
  const without = file(d1);
  assert.deepEqual(inForce.take(without)?.pending, []);
  assert.equal(inForce.hash, without.hash);
});

test('a threshold that does not fit into the memory of the process waits for a restart, with the flush size that goes with it', () => {
  const sizes = (threshold: number, flush: number): Parsed =>
    file(
      `${d1}\nlinger_ms = ${flush}\nglobal_flush_threshold = ${threshold * mebibyte}\nmemory_flush_size_bytes = ${flush * mebibyte}`,
    );
  const inForce = startedWith(sizes(512, 1), { thresholdBytesMax: 600 * mebibyte });
  const taken = inForce.take(sizes(601, 300));
  assert.match(
    taken?.memoryProblem ?? '',
    /^global_flush_threshold = 630194176 is over the 629145600 bytes that the memory limit of this process holds: raise the limit/,
  );
  assert.deepEqual(taken?.pending, [
    'storage.wal_config.memory_flush_size_bytes',
    'storage.wal_config.global_flush_threshold',
  ]);
  const { globalFlushThresholdBytes, memoryFlushSizeBytes, lingerMs } = inForce.configuration.wal;
  assert.deepEqual([globalFlushThresholdBytes, memoryFlushSizeBytes, lingerMs], [512 * mebibyte, mebibyte, 300]);
  const fitting = sizes(600, 300);
  assert.deepEqual(inForce.take(fitting)?.pending, []);
  assert.equal(inForce.hash, fitting.hash);
  assert.equal(inForce.configuration.wal.globalFlushThresholdBytes, 600 * mebibyte);
  // What it was started with it keeps, however large: lowering it is no risk.
  const large = startedWith(sizes(1024, 1), { thresholdBytesMax: 600 * mebibyte });
  assert.deepEqual(large.take(sizes(1023, 1))?.pending, []);
});
