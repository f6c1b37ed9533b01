import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { strategies } from './assignment.ts';
import { type Candidate, choose } from './strategy.ts';

type Url = { -readonly [key in keyof Candidate]: Candidate[key] };

function urls(count: number): Url[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    url: `file:///mnt/nvme${index + 1}/wal`,
    collections: 0,
    bytes: 0,
    available: true,
  }));
}

/** Assigns `names` as the service does and returns the chosen indexes. */
function run(strategy: (typeof strategies)[number], candidates: Url[], names: readonly string[]): number[] {
  let cursor = 0;
  return names.map((name) => {
    const index = choose(strategy, name, candidates, cursor);
    const chosen = candidates.find((candidate) => candidate.index === index);
    assert.ok(chosen !== undefined);
    chosen.collections += 1;
    cursor = chosen.index + 1;
    return chosen.index;
  });
}

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `collection_${index + 1}`);
const counts = (candidates: readonly Url[]): number[] => candidates.map((candidate) => candidate.collections);

test('RoundRobin: 10 collections over 4 URLs give 3/3/2/2, in turn', () => {
  const four = urls(4);
  assert.deepEqual(run('RoundRobin', four, names(10)), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]);
  assert.deepEqual(counts(four), [3, 3, 2, 2]);
});

test('origin: the round-robin counter restarted at 0: after a restart the round goes on where fairness needs it', () => {
  const four = urls(4);
  for (let restart = 0; restart < 10; restart++) run('RoundRobin', four, [`collection_${restart}`]);
  assert.deepEqual(counts(four), [3, 3, 2, 2]);
});

test('RoundRobin: whatever was dropped, new collections even it out and then differ by at most one', () => {
  const held = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(held, fc.integer({ min: 0, max: 40 }), (before, more) => {
      const candidates = urls(before.length);
      for (const url of candidates) url.collections = before[url.index] ?? 0;
      run('RoundRobin', candidates, names(more));
      const after = counts(candidates);
      const grown = after.filter((count, index) => count > (before[index] ?? 0));
      const lowest = Math.min(...after);
      assert.ok(grown.every((count) => count <= lowest + 1));
    }),
  );
});

test('Hash: the same collection goes to the same URL in any order of the URLs', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (name) => {
      const four = urls(4);
      const mirrored = urls(4).toReversed();
      assert.equal(choose('Hash', name, four, 0), choose('Hash', name, mirrored, 3));
    }),
  );
});

test('Hash: it is stable: these choices must never change between versions', () => {
  assert.deepEqual(run('Hash', urls(4), names(10)), [1, 0, 2, 1, 1, 1, 1, 2, 2, 1]);
});

test('Hash: another URL takes only its own share, and no collection moves between the old ones', () => {
  const many = names(4000);
  const before = run('Hash', urls(4), many);
  const after = run('Hash', urls(5), many);
  const moved = after.filter((index, place) => index !== before[place]);
  assert.ok(moved.every((index) => index === 4));
  assert.ok(moved.length > 640 && moved.length < 960, `expected about 800 of 4000, got ${moved.length}`);
});

test('Hash: the collections are spread evenly', () => {
  const four = urls(4);
  run('Hash', four, names(4000));
  for (const count of counts(four)) assert.ok(count > 900 && count < 1100, `expected about 1000, got ${count}`);
});

test('LoadBalanced: the fewest collections + bytes per MiB, ties by index', () => {
  const four = urls(4);
  assert.deepEqual(run('LoadBalanced', four, names(4)), [0, 1, 2, 3]);
  const loaded = urls(3);
  Object.assign(loaded[0] ?? {}, { collections: 2, bytes: 0 });
  Object.assign(loaded[1] ?? {}, { collections: 1, bytes: 2 * 1024 * 1024 });
  Object.assign(loaded[2] ?? {}, { collections: 2, bytes: 512 * 1024 });
  assert.equal(choose('LoadBalanced', 'x', loaded, 0), 0);
  Object.assign(loaded[0] ?? {}, { bytes: 1024 * 1024 });
  assert.equal(choose('LoadBalanced', 'x', loaded, 0), 2);
});

test('only an available URL is chosen; with none, none is', () => {
  for (const strategy of strategies) {
    const two = urls(2);
    Object.assign(two[0] ?? {}, { available: false });
    assert.equal(choose(strategy, 'orders', two, 0), 1);
    Object.assign(two[1] ?? {}, { available: false });
    assert.equal(choose(strategy, 'orders', two, 0), undefined);
  }
});

test('origin: an empty URL list divided by zero: no URL is chosen, nothing is thrown', () => {
  for (const strategy of strategies) assert.equal(choose(strategy, 'orders', [], 0), undefined);
});
