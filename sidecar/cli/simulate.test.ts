import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { type SimulateOptions, simulate } from './simulate.ts';

const urls = ['file:///d0', 's3://bucket/d1', 'gs://bucket/d2', 'adls://account/container/d3'];

class Text extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function run(
  context: TestContext,
  options: Partial<SimulateOptions>,
  wal = `wal_urls = ${JSON.stringify(urls)}`,
): Promise<{ status: number; stdout: string; stderr: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-simulate-'));
  context.after(() => rm(directory, { recursive: true }));
  const config = join(directory, 'walstorage.toml');
  await writeFile(config, `[storage.wal_config]\n${wal}\n`);
  const [stdout, stderr] = [new Text(), new Text()];
  const given: SimulateOptions = { config, collections: 10, strategy: undefined, output: 'text', ...options };
  const status = await simulate(given, { stdout, stderr, environment: {} });
  return { status, stdout: stdout.text, stderr: stderr.text };
}

test('origin: rows 3 and 9, RoundRobin spreads 10 collections over 4 URLs of all schemes 3/3/2/2, and says so', async (context) => {
  const { status, stdout, stderr } = await run(context, { strategy: 'RoundRobin' });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  const [assigned = '', distribution = ''] = stdout.split('\n\n');
  assert.equal(assigned.split('\n')[0], 'collection_1 -> Directory 0 (file:///d0)');
  assert.equal(assigned.split('\n')[9], 'collection_10 -> Directory 1 (s3://bucket/d1)');
  assert.equal(
    distribution,
    [
      'Distribution of 10 collections over 4 directories by RoundRobin:',
      'Directory 0:  3 collections,  30.0 % (file:///d0)',
      'Directory 1:  3 collections,  30.0 % (s3://bucket/d1)',
      'Directory 2:  2 collections,  20.0 % (gcs://bucket/d2)',
      'Directory 3:  2 collections,  20.0 % (adls://account.dfs.core.windows.net/container/d3)',
      '',
    ].join('\n'),
  );
});

test('the strategy is the one of the configuration unless another is named', async (context) => {
  const hash = `wal_urls = ${JSON.stringify(urls)}\ndistribution_strategy = "Hash"`;
  assert.match((await run(context, {}, hash)).stdout, /over 4 directories by Hash/);
  assert.match((await run(context, { strategy: 'LoadBalanced' }, hash)).stdout, /over 4 directories by LoadBalanced/);
});

test('as JSON: every assignment and the distribution, the same at each run', async (context) => {
  const options = { collections: 1000, strategy: 'Hash', output: 'json' } as const;
  const { stdout } = await run(context, options);
  const result: { assignments: { collection: string }[]; distribution: { collections: number; percent: number }[] } =
    JSON.parse(stdout);
  assert.equal(result.assignments.length, 1000);
  assert.equal(result.assignments[999]?.collection, 'collection_1000');
  assert.equal(
    result.distribution.reduce((sum, { collections }) => sum + collections, 0),
    1000,
  );
  for (const { collections, percent } of result.distribution) {
    assert.equal(percent, collections / 10);
    assert.ok(percent > 18 && percent < 32, `${percent} % is far from a quarter`);
  }
  assert.equal((await run(context, options)).stdout, stdout);
});

test('R5 a number of collections out of bounds, and a bad configuration, end with status 2', async (context) => {
  for (const collections of [0, -1, 1.5, Number.NaN, 100_001]) {
    const { status, stdout, stderr } = await run(context, { collections });
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /--collections must be a whole number from 1 to 100000/);
  }
  const { status, stderr } = await run(context, {}, 'wal_urls = []');
  assert.equal(status, 2);
  assert.match(stderr, /a problem:\n {2}storage\.wal_config\.wal_urls = \[\]: is an empty list/);
});
