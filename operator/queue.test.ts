import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pauseMs } from './backoff.ts';
import { WorkQueue } from './queue.ts';

interface Failure {
  readonly key: string;
  readonly failures: number;
  readonly waitMs: number;
}

/** A queue whose work waits to be let go, with a record of what it did. */
class Workshop {
  readonly begun: string[] = [];
  readonly failures: Failure[] = [];
  readonly queue: WorkQueue;
  atOnce = 0;
  atOnceMax = 0;
  /** What the next works do, in order; after them they succeed at once. */
  readonly #works: ((key: string) => Promise<number | undefined>)[];
  #changed = Promise.withResolvers<void>();

  constructor(works: ((key: string) => Promise<number | undefined>)[] = [], workers = 2) {
    this.#works = works;
    this.queue = new WorkQueue({
      work: (key) => this.#work(key),
      onFailure: (key, _error, failures, waitMs) => this.failures.push({ key, failures, waitMs }),
      workers,
      backoff: { firstMs: 2, maxMs: 16 },
      spacingMs: 50,
    });
  }

  async #work(key: string): Promise<number | undefined> {
    this.begun.push(key);
    this.atOnce += 1;
    this.atOnceMax = Math.max(this.atOnceMax, this.atOnce);
    try {
      return await this.#works.shift()?.(key);
    } finally {
      this.atOnce -= 1;
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }
  }

  /** Resolves when the condition holds; looked at whenever a work has ended. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.#changed.promise;
  }
}

test('a key that waits is worked on once, however often it was added', async () => {
  const gate = Promise.withResolvers<undefined>();
  const shop = new Workshop([() => gate.promise], 1);
  shop.queue.start();
  for (const key of ['first', 'a', 'b', 'a', 'a', 'b']) shop.queue.add(key);
  assert.equal(shop.queue.depth, 2);
  gate.resolve(undefined);
  await shop.until(() => shop.begun.length === 3);
  await shop.queue.shutdown();
  assert.deepEqual(shop.begun, ['first', 'a', 'b']);
});

test('a key is worked on by one worker at a time; added meanwhile, it is worked on once more', async () => {
  const gate = Promise.withResolvers<undefined>();
  const shop = new Workshop([() => gate.promise]);
  shop.queue.start();
  shop.queue.add('a');
  shop.queue.add('b');
  await shop.until(() => shop.begun.length === 2);
  shop.queue.add('a');
  shop.queue.add('a');
  assert.deepEqual(shop.begun, ['a', 'b']);
  gate.resolve(undefined);
  await shop.until(() => shop.begun.length === 3 && shop.atOnce === 0);
  await shop.queue.shutdown();
  assert.deepEqual(shop.begun, ['a', 'b', 'a']);
});

test('no more keys are worked on at once than there are workers', async () => {
  const shop = new Workshop();
  shop.queue.start();
  for (let key = 0; key < 20; key += 1) shop.queue.add(String(key));
  await shop.until(() => shop.begun.length === 20);
  await shop.queue.shutdown();
  assert.equal(shop.atOnceMax, 2);
});

const fail = (): Promise<never> => Promise.reject(new Error('no'));
const succeed = (): Promise<undefined> => Promise.resolve(undefined);

test('work that throws is done again after a growing pause, and a success resets it', async () => {
  const shop = new Workshop([fail, fail, fail, succeed, fail, succeed]);
  shop.queue.start();
  shop.queue.add('a');
  await shop.until(() => shop.begun.length === 4);
  shop.queue.add('a');
  await shop.until(() => shop.begun.length === 6 && shop.atOnce === 0);
  await shop.queue.shutdown();
  assert.deepEqual(
    shop.failures.map(({ failures }) => failures),
    [1, 2, 3, 1],
  );
  assert.ok(shop.failures.every(({ waitMs }) => waitMs >= 1 && waitMs <= 16));
});

test('work may ask to be done again in a while', async () => {
  const shop = new Workshop([() => Promise.resolve(1)]);
  shop.queue.start();
  shop.queue.add('a');
  await shop.until(() => shop.begun.length === 2);
  await shop.queue.shutdown();
});

test('of two delayed adds the earlier counts, and an add goes before both', async () => {
  const shop = new Workshop();
  shop.queue.start();
  shop.queue.addAfter('a', 60_000);
  shop.queue.addAfter('a', 1);
  shop.queue.addAfter('a', 60_000);
  await shop.until(() => shop.begun.length === 1);
  shop.queue.addAfter('a', 60_000);
  shop.queue.add('a');
  await shop.until(() => shop.begun.length === 2 && shop.atOnce === 0);
  await shop.queue.shutdown();
  assert.deepEqual(shop.begun, ['a', 'a']);
});

test('the first of many spaced adds is worked on at once, and those that soon follow together after a while', async () => {
  const shop = new Workshop();
  shop.queue.start();
  shop.queue.addSpaced('a');
  await shop.until(() => shop.begun.length === 1 && shop.atOnce === 0);
  const endedMs = performance.now();
  for (let add = 0; add < 5; add += 1) shop.queue.addSpaced('a');
  assert.deepEqual([shop.queue.depth, shop.queue.idle], [0, false]);
  await shop.until(() => shop.begun.length === 2 && shop.atOnce === 0);
  assert.ok(performance.now() - endedMs >= 45);
  await shop.queue.shutdown();
  assert.deepEqual(shop.begun, ['a', 'a']);
});

test('shutdown drops what waits and resolves when what runs has ended', async () => {
  const gate = Promise.withResolvers<undefined>();
  const shop = new Workshop([() => gate.promise], 1);
  shop.queue.start();
  shop.queue.add('a');
  shop.queue.add('b');
  shop.queue.addAfter('c', 1);
  let ended = false;
  const shutdown = shop.queue.shutdown().then(() => {
    ended = true;
  });
  shop.queue.add('d');
  assert.equal(ended, false);
  gate.resolve(undefined);
  await shutdown;
  assert.deepEqual(shop.begun, ['a']);
});

test('keys are taken between start and shutdown only, again and again', async () => {
  const shop = new Workshop();
  shop.queue.add('early');
  assert.equal(shop.queue.idle, false);
  for (const key of ['a', 'b']) {
    shop.queue.start();
    assert.equal(shop.queue.idle, true);
    shop.queue.add(key);
    await shop.until(() => shop.begun.includes(key));
    await shop.queue.shutdown();
    shop.queue.add('late');
  }
  assert.deepEqual(shop.begun, ['a', 'b']);
});

test('pauses double up to their maximum, of which a random half to whole', () => {
  const backoff = { firstMs: 100, maxMs: 1000 };
  const whole = (failures: number): number => pauseMs(backoff, failures, () => 1);
  assert.deepEqual([1, 2, 3, 4, 5, 100].map(whole), [100, 200, 400, 800, 1000, 1000]);
  assert.equal(
    pauseMs(backoff, 1, () => 0),
    50,
  );
});
