import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PublishSchedule } from './schedule.ts';

interface Change {
  readonly atMs: number;
  readonly content: string;
  readonly ready?: boolean;
}

/** Looks every 500 ms, and returns when it published, in seconds. `refused`: attempts until then fail. */
function run(
  changes: readonly Change[],
  untilMs: number,
  refusedUntilMs = 0,
): { published: number[]; tried: number[] } {
  const schedule = new PublishSchedule();
  const published: number[] = [];
  const tried: number[] = [];
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 500) {
    const current = changes.findLast((change) => change.atMs <= nowMs);
    assert.ok(current !== undefined);
    if (!schedule.isDue(nowMs, current.content)) continue;
    tried.push(nowMs / 1000);
    if (nowMs < refusedUntilMs) schedule.failed(nowMs, 0, 1);
    else {
      schedule.succeeded(nowMs, current.content, current.ready ?? true);
      published.push(nowMs / 1000);
    }
  }
  return { published, tried };
}

test('the start is published at once, and what is appended right after it within 2 s', () => {
  const { published } = run(
    [
      { atMs: 0, content: '0' },
      { atMs: 900, content: '11' },
    ],
    20_000,
  );
  assert.deepEqual(published, [0, 2]);
});

test('a start that is not ready yet costs no pause', () => {
  const changes = [
    { atMs: 0, content: 'recovering', ready: false },
    { atMs: 4000, content: 'ready' },
    { atMs: 7000, content: '11 collections' },
  ];
  assert.deepEqual(run(changes, 20_000).published, [0, 5, 8]);
});

test('after quiet a change is published within 2 s, then at most every 30 s', () => {
  const changes = Array.from({ length: 200 }, (_, index) => ({ atMs: 100_000 + index * 400, content: String(index) }));
  const { published } = run([{ atMs: 0, content: 'a' }, { atMs: 1000, content: 'b' }, ...changes], 200_000);
  assert.deepEqual(published, [0, 2, 101, 131, 161, 191]);
});

test('what changed during a pause is published at its end', () => {
  const changes = [
    { atMs: 0, content: 'a' },
    { atMs: 1000, content: 'b' },
    { atMs: 5000, content: 'c' },
  ];
  assert.deepEqual(run(changes, 60_000).published, [0, 2, 32]);
});

test('unchanged, it is published every 5 minutes', () => {
  assert.deepEqual(run([{ atMs: 0, content: 'a' }], 1_000_000).published, [0, 300, 600, 900]);
});

test('R5: failures pause longer and longer, up to 15 s, and the first success is soon after the return', () => {
  const { published, tried } = run([{ atMs: 0, content: 'a' }], 120_000, 60_000);
  assert.deepEqual(tried.slice(0, 6), [0, 1, 3, 7, 15, 30]);
  assert.deepEqual(published, [60]);
});

test('a server’s Retry-After is honoured', () => {
  const schedule = new PublishSchedule();
  schedule.failed(0, 40_000, 0);
  assert.equal(schedule.isLookDue(39_999), false);
  assert.equal(schedule.isDue(40_000, 'a'), true);
});

test('the fate of a new configuration is published within 2 s, though something was published just before; not in a pause after a failure', () => {
  const schedule = new PublishSchedule();
  for (const [nowMs, content] of [
    [0, 'start'],
    [500, 'ready'],
  ] as const) {
    assert.ok(schedule.isDue(nowMs, content) || schedule.isDue(nowMs + 1000, content));
    schedule.succeeded(nowMs, content, true);
  }
  const due = (fromMs: number, content: string): number => {
    for (let nowMs = fromMs; ; nowMs += 500) if (schedule.isDue(nowMs, content)) return nowMs;
  };
  assert.ok(!schedule.isDue(2000, 'new hash'));
  schedule.hasten(2000);
  assert.equal(due(2000, 'new hash'), 3000);
  schedule.failed(3000, 20_000, 1);
  schedule.hasten(4000);
  assert.equal(due(4000, 'new hash'), 23_000);
});
