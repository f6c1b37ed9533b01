/** On a clock and a Lease of the test's own: for faults and moments that no real API server produces when asked to. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import { ApiError } from './client.ts';
import { type Clock, Election } from './election.ts';
import type { Lease } from './kubernetes.ts';

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

/** Time that passes when it is told to. Each replica may have begun to count elsewhere. */
class World {
  #nowMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  clock(startMs: number): Clock {
    const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
      new Promise((resolve) => {
        const sleeper = { atMs: this.#nowMs + ms, wake: () => wake() };
        const wake = (): void => {
          this.#sleepers.delete(sleeper);
          resolve();
        };
        this.#sleepers.add(sleeper);
        if (signal.aborted) wake();
        signal.addEventListener('abort', wake, { once: true });
      });
    return { now: () => startMs + this.#nowMs, sleep };
  }

  /** Time passes, and everyone wakes when due. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const next = [...this.#sleepers].toSorted((one, other) => one.atMs - other.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.wake();
      await settle();
    }
    this.#nowMs = endMs;
  }

  /** Time passes while every process is stopped: nobody wakes yet. */
  stopped(ms: number): void {
    this.#nowMs += ms;
  }
}

/** Lets everything run that waits for nothing but its turn. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await setImmediate();
}

type Fault = (write: () => Lease) => Promise<Lease>;

/** The API of one Lease: refuses writes to another version than the last, as the real one does. */
class LeaseApi {
  lease: Lease | undefined;
  /** What happens to the next writes instead; the last one again and again. */
  readonly faults: Fault[] = [];
  reads = 0;
  #version = 0;

  get(path: string): Promise<unknown> {
    this.reads += 1;
    if (this.lease === undefined) return Promise.reject(new ApiError(404, 'NotFound', path, 'no such lease'));
    return Promise.resolve(this.lease);
  }

  create(path: string, object: Lease): Promise<unknown> {
    return this.#write(path, object, undefined);
  }

  replace(path: string, object: Lease): Promise<unknown> {
    return this.#write(path, object, object.metadata.resourceVersion);
  }

  /** Somebody else writes. */
  put(spec: Lease['spec']): void {
    this.#version += 1;
    const metadata = { name: 'walstorage-operator', namespace: 'ours', uid: 'u', resourceVersion: `${this.#version}` };
    this.lease = { metadata, ...(spec === undefined ? {} : { spec }) };
  }

  async #write(path: string, object: Lease, version: string | undefined): Promise<Lease> {
    const write = (): Lease => {
      if (this.lease?.metadata.resourceVersion !== version) throw new ApiError(409, 'Conflict', path, 'it has changed');
      this.put(object.spec);
      assert.ok(this.lease !== undefined);
      return this.lease;
    };
    const fault = this.faults.length > 1 ? this.faults.shift() : this.faults[0];
    return fault === undefined ? write() : await fault(write);
  }
}

const refused: Fault = () => Promise.reject(new Error('connection refused'));
/** Carried out, but the answer never comes. */
const unanswered: Fault = (write) => {
  write();
  return Promise.reject(new Error('not done in 2000 ms'));
};
const asUsual: Fault = (write) => Promise.resolve().then(write);

/** A replica, with a record of its terms. */
class Replica {
  readonly election: Election;
  terms = 0;
  term = AbortSignal.abort();
  /** `lead` ends when the term is over and this has resolved. */
  cleared = Promise.resolve();
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(t: TestContext, api: LeaseApi, identity: string, clock: Clock) {
    const logger = pino({ level: 'silent' });
    this.election = new Election({ client: api, namespace: 'ours', identity, logger, clock });
    this.#ended = this.election.run(this.#stop.signal, (term) => this.#lead(term));
    t.after(() => this.stop());
  }

  get leads(): boolean {
    return !this.term.aborted;
  }

  get mayWrite(): boolean {
    return this.election.remainingMs > 0;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #lead(term: AbortSignal): Promise<void> {
    this.terms += 1;
    this.term = term;
    await new Promise((resolve) => {
      if (term.aborted) resolve(undefined);
      term.addEventListener('abort', resolve, { once: true });
    });
    await this.cleared;
  }
}

interface Scene {
  readonly world: World;
  readonly api: LeaseApi;
  readonly first: Replica;
  readonly second: Replica;
}

/** Two replicas whose clocks are far apart, of which the first leads. */
async function twoReplicas(t: TestContext): Promise<Scene> {
  const world = new World();
  const api = new LeaseApi();
  const first = new Replica(t, api, 'first', world.clock(0));
  await world.pass(0);
  const second = new Replica(t, api, 'second', world.clock(1_000_000));
  await world.pass(1_000);
  assert.deepEqual([first.leads, second.leads], [true, false]);
  return { world, api, first, second };
}

test('O9 the first replica makes the Lease, and keeps it as long as it can renew it', async (t) => {
  const { world, api, first, second } = await twoReplicas(t);
  const acquired = api.lease?.spec?.acquireTime;
  assert.match(acquired ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  await world.pass(60_000);
  assert.deepEqual([first.terms, second.terms], [1, 0]);
  assert.ok(first.leads && first.mayWrite);
  const { acquireTime, holderIdentity, leaseDurationSeconds, leaseTransitions } = api.lease?.spec ?? {};
  assert.deepEqual([acquireTime, holderIdentity, leaseDurationSeconds, leaseTransitions], [acquired, 'first', 9, 0]);
  assert.ok((second.election.leaseAgeMs ?? 0) <= 4_000);
});

test('O9 a holder that cannot renew ends its term after 6 s, and another begins its own no sooner than after 9 s', async (t) => {
  const { world, api, first, second } = await twoReplicas(t);
  // The last renewal is sent within 2 s of now.
  await world.pass(1_000);
  api.faults.push(refused);
  await world.pass(5_900);
  assert.ok(first.leads && first.mayWrite, 'renewed 5.9 s ago');
  await world.pass(200);
  assert.deepEqual([first.leads, first.mayWrite], [false, false]);
  api.faults.splice(0, 1, asUsual);
  // The first takes its own record up again: nobody else has written into it.
  await world.pass(2_000);
  assert.deepEqual([first.terms, second.terms, api.lease?.spec?.leaseTransitions], [2, 0, 0]);
});

test('O9 the lease of a holder that is gone is taken 9 s after the record was last seen to change', async (t) => {
  const world = new World();
  const api = new LeaseApi();
  api.put({
    holderIdentity: 'gone',
    leaseDurationSeconds: 9,
    renewTime: '2001-01-01T00:00:00.000000Z',
    leaseTransitions: 4,
  });
  const replica = new Replica(t, api, 'next', world.clock(0));
  await world.pass(8_900);
  assert.equal(replica.leads, false, 'whatever the wall clock says');
  await world.pass(200);
  assert.equal(replica.leads, true);
  assert.deepEqual([api.lease?.spec?.leaseTransitions, replica.election.transitions], [5, 5]);
});

test('O9 in a process that was stopped and continued the clock ends the term, before any timer does', async (t) => {
  const { world, first, second } = await twoReplicas(t);
  const { term } = first;
  world.stopped(6_000);
  assert.equal(term.aborted, false, 'no timer has come yet');
  assert.equal(first.mayWrite, false);
  await world.pass(0);
  assert.equal(term.aborted, true);
  assert.deepEqual([first.terms, second.terms], [2, 0], 'the record is still its own');
});

test('O9 a follower that was stopped and continued looks before it takes the lease', async (t) => {
  const world = new World();
  const api = new LeaseApi();
  api.put({ holderIdentity: 'another', leaseDurationSeconds: 9 });
  const replica = new Replica(t, api, 'next', world.clock(0));
  await world.pass(1_000);
  api.put({ holderIdentity: 'another', leaseDurationSeconds: 9 });
  world.stopped(60_000);
  await world.pass(5_000);
  assert.equal(replica.terms, 0);
});

test('O9 an answer to a renewal that comes after the deadline does not bring the term back to life', async (t) => {
  const { world, api, first } = await twoReplicas(t);
  const answer = Promise.withResolvers<void>();
  api.faults.push(async (write) => {
    const written = write();
    await answer.promise;
    return written;
  }, refused);
  await world.pass(7_000);
  assert.equal(first.leads, false);
  answer.resolve();
  await settle();
  assert.equal(first.mayWrite, false);
});

test('O9 a renewal whose answer got lost is found out, and the term goes on', async (t) => {
  const { world, api, first } = await twoReplicas(t);
  api.faults.push(unanswered, asUsual);
  await world.pass(20_000);
  assert.deepEqual([first.terms, first.leads], [1, true]);
});

test('O9 a lease that somebody else has, or that is gone, ends the term at the next renewal', async (t) => {
  for (const change of ['another', undefined]) {
    const { world, api, first, second } = await twoReplicas(t);
    const { term } = first;
    if (change === undefined) api.lease = undefined;
    else api.put({ holderIdentity: change, leaseDurationSeconds: 9 });
    await world.pass(2_000);
    assert.equal(term.aborted, true);
    await world.pass(12_000);
    assert.notEqual(first.leads, second.leads);
  }
});

test('O9 a new term begins only when the work of the last one has ended', async (t) => {
  const { world, api, first, second } = await twoReplicas(t);
  const cleared = Promise.withResolvers<void>();
  first.cleared = cleared.promise;
  api.put({ holderIdentity: '', leaseDurationSeconds: 1 });
  await world.pass(4_000);
  assert.deepEqual([first.leads, second.leads], [false, true]);
  await second.stop();
  await world.pass(30_000);
  assert.deepEqual([first.terms, first.mayWrite], [1, false]);
  cleared.resolve();
  await world.pass(2_000);
  assert.deepEqual([first.terms, first.leads], [2, true]);
});

test('O9 at a clean end the lease is given back, and the next takes it at its next look', async (t) => {
  const { world, api, first, second } = await twoReplicas(t);
  const cleared = Promise.withResolvers<void>();
  first.cleared = cleared.promise;
  const ended = first.stop();
  await world.pass(2_000);
  assert.equal(api.lease?.spec?.holderIdentity, 'first', 'its work has not ended');
  cleared.resolve();
  await ended;
  assert.deepEqual([api.lease?.spec?.holderIdentity, api.lease?.spec?.leaseDurationSeconds], ['', 1]);
  await world.pass(2_000);
  assert.ok(second.leads);
  assert.equal(api.lease?.spec?.leaseTransitions, 1);
});

test('O9 of two that take the lease at once one wins', async (t) => {
  const world = new World();
  const api = new LeaseApi();
  const replicas = ['one', 'two', 'three'].map((identity) => new Replica(t, api, identity, world.clock(0)));
  await world.pass(30_000);
  assert.equal(replicas.filter(({ leads }) => leads).length, 1);
  assert.equal(
    replicas.reduce((terms, replica) => terms + replica.terms, 0),
    1,
  );
});

test('what `lead` rejects with ends the election, and the lease is given back', async () => {
  const api = new LeaseApi();
  const election = new Election({ client: api, namespace: 'ours', identity: 'one', logger: pino({ level: 'silent' }) });
  const failing = election.run(new AbortController().signal, () => Promise.reject(new Error('cannot lead')));
  await assert.rejects(failing, /cannot lead/);
  assert.equal(api.lease?.spec?.holderIdentity, '');
});
