import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodStatus } from '../crds/walstorage.generated.ts';
import { restartHash } from '../sidecar/config/changes.ts';
import type { Pod } from './kubernetes.ts';
import { carriedOut, condition, entryOf, observe, podOf, spec, storageOf } from './plan.fixture.ts';
import { type Observed, plan } from './plan.ts';

const current = restartHash(spec);
const configHash = plan(observe()).status?.configHash ?? '';

/** A pod that was injected from the spec, or from an older one. */
function injected(name: string, hash: string, options: Parameters<typeof podOf>[1] = {}): Pod {
  return podOf(name, { ready: true, annotations: { 'wal.proximadb.io/injected': hash }, ...options });
}

const older = (name: string, options?: Parameters<typeof podOf>[1]): Pod => injected(name, 'older', options);
const newer = (name: string, options?: Parameters<typeof podOf>[1]): Pod => injected(name, current, options);

/** These pods, each of whose sidecars is ready with the newest configuration, but for `entries`. */
function rolling(pods: Pod[], entries: PodStatus[] = [], rollout: 'OnDelete' | 'Restart' = 'Restart'): Observed {
  const given = new Map(entries.map((entry) => [entry.name, entry]));
  const all = pods.map(({ metadata: { name, uid } }) => given.get(name) ?? entryOf(name, { uid, configHash }));
  const observed = observe({ pods, storage: storageOf({ spec: { ...spec, rollout }, status: { pods: all } }) });
  // The ConfigMap and the roles are there.
  return { ...carriedOut(observed, plan(observed)), rolloutMemory: undefined };
}

const victimOf = (observed: Observed): string | undefined => plan(observed).eviction?.podName;

test('O6 rollout: Restart evicts the outdated pod of the highest ordinal, when all others are ready', () => {
  assert.equal(victimOf(rolling([older('db-2'), older('db-10'), older('db-0')])), 'db-10');
  assert.equal(victimOf(rolling([older('db-0'), older('db-1'), newer('db-2')])), 'db-1');
  assert.equal(victimOf(rolling([newer('db-0'), newer('db-1')])), undefined);
  const { eviction } = plan(rolling([older('db-0'), newer('db-1')]));
  assert.deepEqual(eviction, {
    podName: 'db-0',
    uid: 'uid-db-0',
    owners: [
      { kind: 'StatefulSet', name: 'db', resource: { prefix: '/apis/apps/v1', plural: 'statefulsets' }, podCount: 2 },
    ],
  });
});

test('O6 one at a time: while any other pod is not ready, gone halfway, or without the newest configuration', () => {
  const cases: [string, Observed][] = [
    ['a pod that is not Ready', rolling([older('db-0'), newer('db-1', { ready: false })])],
    [
      'a sidecar that is not ready',
      rolling([older('db-0'), newer('db-1')], [entryOf('db-1', { ready: false, configHash })]),
    ],
    [
      'a new pod that has not reported',
      rolling([older('db-0'), newer('db-1')], [entryOf('db-1', { uid: 'an earlier one' })]),
    ],
    [
      'a new pod with an older file',
      rolling([older('db-0'), newer('db-1')], [entryOf('db-1', { configHash: 'older' })]),
    ],
    ['a pod on its way out', rolling([older('db-0'), older('db-1', { isBeingDeleted: true })])],
    ['two that are not ready', rolling([older('db-0', { ready: false }), older('db-1', { ready: false })])],
  ];
  for (const [what, observed] of cases) assert.equal(victimOf(observed), undefined, what);
});

test('O6 if the only pod that is not ready is an outdated one, that one is evicted', () => {
  assert.equal(victimOf(rolling([older('db-0', { ready: false }), older('db-1'), newer('db-2')])), 'db-0');
});

test('O6 a threshold that the memory of pods does not hold replaces them, where the limit is ours to choose', () => {
  const small = (name: string): Pod => newer(name, { memory: '600Mi' });
  const entries = ['db-0', 'db-1'].map((name) => entryOf(name, { configHash: 'older' }));
  assert.equal(victimOf(rolling([small('db-0'), small('db-1')], entries)), 'db-1');
  assert.equal(victimOf(rolling([small('db-0'), newer('db-1')], entries.slice(0, 1))), 'db-0');
  assert.equal(victimOf(rolling([newer('db-0', { memory: '2Gi' }), newer('db-1')])), undefined);
  const observed = rolling([small('db-0')], entries.slice(0, 1));
  const given = { ...observed.storage.spec, sidecar: { resources: { limits: { memory: '600Mi' } } } };
  const hash = restartHash(given);
  const pods = [injected('db-0', hash, { memory: '600Mi' })];
  assert.equal(victimOf({ ...observed, pods, storage: { ...observed.storage, spec: given } }), undefined);
});

test('O6 OnDelete evicts nobody; Ready says which pods wait, and how to go on', () => {
  const planned = plan(rolling([older('db-0'), newer('db-1'), older('db-2')], [], 'OnDelete'));
  assert.equal(planned.eviction, undefined);
  const message =
    '3 of 3 pods ready. 2 pods run with an older spec: db-0, db-2. Delete them one at a time, or set rollout: Restart.';
  assert.equal(plan({ ...rolling([older('db-0'), newer('db-1'), older('db-2')], [], 'OnDelete') }).status, undefined);
  const { status } = rolling([older('db-0'), newer('db-1'), older('db-2')], [], 'OnDelete').storage;
  assert.equal(status?.conditions?.find(({ type }) => type === 'Ready')?.message, message);
});

test('O6 a URL that is Pending in running pods is named in Ready with the pods', () => {
  const url = 'file:///mnt/nvme2/wal';
  const pending = (name: string): PodStatus => entryOf(name, { configHash, urls: [{ url, state: 'Pending' }] });
  const { storage } = rolling([older('db-0'), older('db-1')], [pending('db-0'), pending('db-1')], 'OnDelete');
  const ready = storage.status?.conditions?.find(({ type }) => type === 'Ready');
  assert.deepEqual([ready?.status, ready?.reason], ['True', 'AllPodsReady']);
  assert.equal(
    ready?.message,
    '2 of 2 pods ready. 2 pods run with an older spec: db-0, db-1. Delete them one at a time, or set rollout: Restart. ' +
      `${url} is not used yet (Pending) by 2 pods, until replaced: db-0, db-1.`,
  );
  assert.equal(storage.status?.conditions?.find(({ type }) => type === 'Degraded')?.status, 'False');
});

test('O6 a pod that nobody would make anew is never evicted, and named', () => {
  for (const owner of [null, 'Job', 'Unknown']) {
    const observed = rolling([older('single', { owner })]);
    assert.equal(victimOf(observed), undefined, String(owner));
    const ready = observed.storage.status?.conditions?.find(({ type }) => type === 'Ready');
    assert.match(ready?.message ?? '', /1 pod runs with an older spec: single; .* replace them yourself\.$/);
  }
});

test('O6 an upgraded operator, and pods that our webhook did not make, are no reason to evict', () => {
  const pods = [newer('db-0'), podOf('by-hand', { ready: true })];
  assert.equal(victimOf({ ...rolling(pods), operatorVersion: '9.9.9' }), undefined);
});

test('O6 nobody is evicted for a spec that is not in force', () => {
  const observed = rolling([older('db-0')]);
  const wrong = { ...observed.storage.spec, wal: { ...spec.wal, memoryFlushSize: '1Gi' } };
  assert.equal(victimOf({ ...observed, storage: { ...observed.storage, spec: wrong } }), undefined);
});

test('O6 a pod whose eviction was accepted is not evicted again while its copy is old', () => {
  const observed = rolling([older('db-0')]);
  const { rolloutMemory } = plan(observed);
  assert.ok(rolloutMemory !== undefined);
  assert.equal(victimOf({ ...observed, rolloutMemory: { ...rolloutMemory, evictedUid: 'uid-db-0' } }), undefined);
});

/** The same, `minutes` later, with what the plan before remembered. */
function later(observed: Observed, minutes: number, hindrance?: string): Observed {
  const { rolloutMemory } = plan(observed);
  assert.ok(rolloutMemory !== undefined);
  const now = new Date(observed.now.getTime() + minutes * 60_000);
  return { ...observed, now, rolloutMemory: { ...rolloutMemory, hindrance } };
}

test('O6 RolloutStuck when no pod was replaced for 10 minutes, with what it waits for', () => {
  const observed = rolling([older('db-0'), newer('db-1', { ready: false })]);
  assert.equal(plan(observed).againMs, 600_000, 'no event tells when the time is over');
  assert.equal(plan(later(observed, 9)).status, undefined);
  const { status, reason, message } = condition(plan(later(observed, 10)), 'Degraded');
  assert.deepEqual([status, reason], ['True', 'RolloutStuck']);
  assert.equal(
    message,
    '1 of 2 pods still run with an older spec, and none was replaced for 10 minutes: it waits until db-1 is ready.',
  );
});

test('O6 RolloutStuck says what the API server said to the last eviction, and it is tried further', () => {
  const stuck = plan(later(rolling([older('db-0')]), 11, 'the eviction of db-0 is refused: the budget db needs 1 pod'));
  assert.match(
    condition(stuck, 'Degraded').message,
    /10 minutes: the eviction of db-0 is refused: the budget db needs/,
  );
  assert.equal(stuck.eviction?.podName, 'db-0');
});

test('O6 progress ends RolloutStuck: a pod that was replaced, or another spec', () => {
  const observed = rolling([older('db-0'), older('db-1')]);
  const after = later(observed, 11);
  assert.equal(condition(plan(after), 'Degraded').reason, 'RolloutStuck');
  const replaced = [older('db-0'), newer('db-1')];
  assert.equal(plan({ ...after, pods: replaced }).rolloutMemory?.sinceMs, after.now.getTime());
});

test('O6 a new leader that finds a rollout stuck goes on saying so', () => {
  const observed = rolling([older('db-0'), newer('db-1', { ready: false })]);
  const stuck = later(observed, 11);
  const written = carriedOut(stuck, plan(stuck));
  const planned = plan({ ...written, rolloutMemory: undefined });
  assert.equal(planned.status, undefined, 'it stays as it is written');
});
