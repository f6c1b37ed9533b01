import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBudget, eventOf, summed } from './events.ts';
import { carriedOut, entryOf, observe, podOf, storageOf } from './plan.fixture.ts';
import { type Observed, plan } from './plan.ts';

function told(observed: Observed): string[] {
  return plan(observed).occurrences.map(({ type, reason }) => `${type} ${reason}`);
}

test('events tell each condition whose status or reason has changed, once', () => {
  const created = observe();
  assert.deepEqual(told(created), ['Normal NoPods', 'Normal Rendered']);
  const withPod = { ...carriedOut(created, plan(created)), pods: [podOf('db-0')] };
  assert.deepEqual(told(withPod), ['Normal PodsNotReady']);
  const waiting = carriedOut(withPod, plan(withPod));
  assert.deepEqual(told(waiting), []);
  const reports = (state: 'Available' | 'Full'): Observed => {
    const pods = [entryOf('db-0', { urls: [{ url: 'file:///mnt/nvme1/wal', state }] })];
    return { ...waiting, storage: { ...waiting.storage, status: { ...waiting.storage.status, pods } } };
  };
  const full = reports('Full');
  assert.deepEqual(told(full), ['Normal AllPodsReady', 'Warning UrlsNotAvailable']);
  const { conditions } = carriedOut(full, plan(full)).storage.status ?? {};
  const mended = reports('Available');
  const status = { ...mended.storage.status, ...(conditions === undefined ? {} : { conditions }) };
  assert.deepEqual(told({ ...mended, storage: { ...mended.storage, status } }), ['Normal AllUrlsWork']);
});

test('another message under the same reason is no event', () => {
  const first = observe({ pods: [podOf('db-0')] });
  const done = carriedOut(first, plan(first));
  assert.deepEqual(told({ ...done, pods: [podOf('db-0'), podOf('db-1')] }), []);
});

test('an event is about the WalStorage, and its note is what the API server takes', () => {
  const note = 'ä'.repeat(600);
  const now = new Date('2026-11-22T10:00:00.500Z');
  const occurrence = { type: 'Warning', reason: 'R', action: 'Reconcile', note } as const;
  const event = eventOf(storageOf(), occurrence, { instance: 'pod-1', now, number: 7 });
  assert.deepEqual(event, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `orders.${(1_795_341_600_500_007).toString(16)}`, namespace: 'default' },
    eventTime: '2026-11-22T10:00:00.500000Z',
    reportingController: 'walstorage-operator',
    reportingInstance: 'pod-1',
    regarding: {
      apiVersion: 'wal.proximadb.io/v1alpha1',
      kind: 'WalStorage',
      name: 'orders',
      namespace: 'default',
      uid: 'storage-uid',
      resourceVersion: '100',
    },
    type: 'Warning',
    reason: 'R',
    action: 'Reconcile',
    note: `${'ä'.repeat(510)}…`,
  });
});

test('what was done in a reconcile is one event; nothing done is none', () => {
  assert.deepEqual(summed('Evict', 'PodEvicted', 'Evicted', []), []);
  const [only, ...more] = summed('CreateClaim', 'ClaimCreated', 'Made', ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
  assert.deepEqual([only?.note, more], ['Made a, b, c, d, e, and 2 more.', []]);
});

test('R5 a WalStorage may have 25 events at once, then one a minute; another one has its own', () => {
  const budget = new EventBudget();
  const taken = (key: string, nowMs: number): number =>
    Array.from({ length: 40 }, () => budget.take(key, nowMs)).filter(Boolean).length;
  assert.equal(taken('a', 0), 25);
  assert.equal(taken('a', 59_000), 0);
  assert.equal(taken('b', 59_000), 25);
  assert.equal(taken('a', 120_000), 2);
  budget.forget('a');
  assert.equal(taken('a', 120_000), 25);
});
