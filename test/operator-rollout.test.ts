/** Nudges, replacement of outdated pods, and events, on a real API server with controller-manager. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WalStorageSpec } from '../crds/walstorage.generated.ts';
import { type Pod, pods } from '../operator/kubernetes.ts';
import { restartHash } from '../sidecar/config/changes.ts';
import { example } from './crd-refusals.ts';
import { condition, OperatorScene } from './operator-scene.ts';
import { eventually, type Namespace } from './running-operator.ts';
import { applyStatefulSet, replacementOf, servePod, servePods } from './simulated-pods.ts';

const scene = new OperatorScene('rollout');

type Rollout = NonNullable<WalStorageSpec['rollout']>;

function specOf(rollout: Rollout, logLevel: 'info' | 'debug' = 'info'): WalStorageSpec {
  return { ...example.spec, rollout, sidecar: { logLevel } };
}

/** What the webhook adds to a pod. */
function injectedFrom(spec: WalStorageSpec): Record<string, string> {
  return { 'wal.proximadb.io/injected': restartHash(spec) };
}

/** Three pods that were injected from the spec with `info`, while the spec now says `debug`; new ones are made from it. */
async function outdatedPods(namespace: Namespace, rollout: Rollout, replicas = 3): Promise<Pod[]> {
  await namespace.applyStorage('orders', specOf(rollout));
  await namespace.status('orders', 'rendered', ({ status }) => (status?.configHash ?? '') !== '');
  await applyStatefulSet(scene.plane, namespace, { replicas, annotations: injectedFrom(specOf(rollout)) });
  const found = await servePods(namespace, replicas);
  await namespace.status('orders', 'all ready', ({ status }) => status?.readyPods === replicas);
  await applyStatefulSet(scene.plane, namespace, { replicas, annotations: injectedFrom(specOf(rollout, 'debug')) });
  await namespace.applyStorage('orders', specOf(rollout, 'debug'));
  return found;
}

async function uidsOf(namespace: Namespace): Promise<string[]> {
  return (await namespace.list<Pod>(pods)).map(({ metadata }) => metadata.uid).toSorted();
}

test('O6 Restart replaces outdated pods one at a time from the highest ordinal, each after the last is ready', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  const [first, second, third] = await outdatedPods(namespace, 'Restart');
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  const newThird = await replacementOf(namespace, third, [first, second]);
  // Not yet Ready, or without the newest configuration: nobody else goes.
  await namespace.setReady(newThird);
  await servePod(namespace, newThird, 'an older configuration');
  await namespace.status('orders', 'all ready', ({ status }) => status?.readyPods === 3 && status.updatedPods === 2);
  await running.lookAgain(`${namespace.name}/orders`);
  assert.deepEqual(await uidsOf(namespace), [first, second, newThird].map(({ metadata }) => metadata.uid).toSorted());
  await servePod(namespace, newThird);
  const newSecond = await replacementOf(namespace, second, [first, newThird]);
  await servePod(namespace, newSecond);
  const newFirst = await replacementOf(namespace, first, [newSecond, newThird]);
  await servePod(namespace, newFirst);
  const done = await namespace.status('orders', 'all replaced', (storage) => {
    return condition(storage, 'Ready')?.message === '3 of 3 pods ready.' && storage.status?.updatedPods === 3;
  });
  assert.equal(condition(done, 'Degraded')?.status, 'False');
  await running.whenIdle();
  const left = [newFirst, newSecond, newThird].map(({ metadata }) => metadata.uid).toSorted();
  assert.deepEqual(await uidsOf(namespace), left);
  const described = await scene.plane.kubectl(['describe', 'walstorage', 'orders', '-n', namespace.name]);
  for (const name of ['db-2', 'db-1', 'db-0']) {
    assert.match(described, new RegExp(`Normal +PodEvicted .* Made from an older spec, so evicted: ${name}\\.`));
  }
});

test('O6 OnDelete evicts nobody, and Ready names who waits; a pod that is deleted becomes new', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  const [first, second] = await outdatedPods(namespace, 'OnDelete', 2);
  assert.ok(first !== undefined && second !== undefined);
  const waiting =
    '2 of 2 pods ready. 2 pods run with an older spec: db-0, db-1. Delete them one at a time, or set rollout: Restart.';
  await namespace.status('orders', 'who waits', (storage) => condition(storage, 'Ready')?.message === waiting);
  await running.whenIdle();
  assert.deepEqual(await uidsOf(namespace), [first.metadata.uid, second.metadata.uid].toSorted());
  await namespace.delete('pod', 'db-0');
  await servePod(namespace, await replacementOf(namespace, first, [second]));
  const one = '2 of 2 pods ready. 1 pod runs with an older spec: db-1. Delete it, or set rollout: Restart.';
  await namespace.status('orders', 'one waits', (storage) => condition(storage, 'Ready')?.message === one);
});

/** At least so many pods must be there, once the disruption controller has counted them. */
async function budget(namespace: Namespace, minAvailable: number): Promise<void> {
  await scene.plane.apply({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'db', namespace: namespace.name },
    spec: { minAvailable, selector: { matchLabels: { app: 'db' } } },
  });
}

test('O6 a PodDisruptionBudget is waited out; after 10 minutes RolloutStuck says so; then it goes on', async (t) => {
  const namespace = await scene.namespace(t);
  let aheadMs = 0;
  const running = scene.operator(t, namespace, { now: () => new Date(Date.now() + aheadMs) });
  await budget(namespace, 2);
  const [first, second] = await outdatedPods(namespace, 'Restart', 2);
  assert.ok(first !== undefined && second !== undefined);
  await namespace.status('orders', 'it is under way', (storage) => {
    return condition(storage, 'Ready')?.message.includes('2 pods run with an older spec and will be replaced') === true;
  });
  aheadMs = 601_000;
  const stuck = await eventually('it is stuck for what the budget says', async () => {
    running.operator.queue.add(`${namespace.name}/orders`);
    const storage = await namespace.storage('orders');
    const degraded = condition(storage, 'Degraded');
    return degraded?.reason === 'RolloutStuck' && degraded.message.includes('eviction') ? degraded : undefined;
  });
  assert.match(
    stuck.message,
    /^2 of 2 pods still run with an older spec, and none was replaced for 10 minutes: the eviction of db-1 is refused: Cannot evict pod as it would violate the pod's disruption budget/,
  );
  assert.deepEqual(await uidsOf(namespace), [first.metadata.uid, second.metadata.uid].toSorted());
  await namespace.delete('pdb', 'db');
  const replaced = await eventually('db-1 is replaced', async () => {
    running.operator.queue.add(`${namespace.name}/orders`);
    const all = await namespace.list<Pod>(pods);
    return all.find(({ metadata }) => metadata.name === 'db-1' && metadata.uid !== second.metadata.uid);
  });
  await servePod(namespace, replaced);
  await namespace.status('orders', 'no longer stuck', (storage) => condition(storage, 'Degraded')?.status === 'False');
});

test('O6 no second pod goes while the controller has fewer pods than it wants', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  // No pod can be made any more: the evicted one does not come back.
  const [first, second, third] = await outdatedPods(namespace, 'OnDelete');
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  await scene.plane.apply({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'none', namespace: namespace.name },
    spec: { hard: { pods: '0' } },
  });
  await eventually('the quota holds', async () => {
    const shown = await scene.plane.kubectl([
      'get',
      'quota',
      'none',
      '-n',
      namespace.name,
      '-o',
      'jsonpath={.status.hard}',
    ]);
    return shown.includes('"0"') || undefined;
  });
  await namespace.applyStorage('orders', specOf('Restart', 'debug'));
  await namespace.status('orders', 'two pods are left', ({ status }) => status?.podCount === 2);
  await running.lookAgain(`${namespace.name}/orders`);
  assert.deepEqual(await uidsOf(namespace), [first.metadata.uid, second.metadata.uid].toSorted());
  await namespace.delete('quota', 'none');
  await servePod(namespace, await replacementOf(namespace, third, [first, second]));
  await replacementOf(namespace, second, [first]);
});

test('O6 a pod whose sidecar reports an older configuration is nudged; one that has the newest is not', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const { status } = await namespace.status(
    'orders',
    'rendered',
    (storage) => (storage.status?.configHash ?? '') !== '',
  );
  const late = await namespace.createPod('db-0', 'orders', { annotations: { theirs: 'kept' } });
  const current = await namespace.createPod('db-1', 'orders');
  await servePod(namespace, late, 'an older configuration');
  await servePod(namespace, current);
  const nudged = await eventually('db-0 is nudged', async () => {
    const pod = await namespace.find<Pod>(pods, 'db-0');
    return pod?.metadata.annotations?.['wal.proximadb.io/config-hash'] === undefined ? undefined : pod;
  });
  assert.deepEqual(nudged.metadata.annotations, { theirs: 'kept', 'wal.proximadb.io/config-hash': status?.configHash });
  await servePod(namespace, late);
  await namespace.status('orders', 'both have it', (storage) => storage.status?.updatedPods === 2);
  await running.whenIdle();
  assert.equal((await namespace.find<Pod>(pods, 'db-1'))?.metadata.annotations, undefined);
});

test('kubectl describe walstorage tells what happened, once each', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const pod = await namespace.createPod('db-0', 'orders');
  await servePod(namespace, pod);
  await namespace.status('orders', 'ready', (storage) => condition(storage, 'Ready')?.reason === 'AllPodsReady');
  const url = example.spec.wal.urls[0]?.url ?? '';
  const urls = [{ url, state: 'Full' as const, reason: 'no space left; delete what nobody needs, or grow the volume' }];
  await namespace.report('orders', pod, { ready: true, urls });
  await namespace.status('orders', 'degraded', (storage) => condition(storage, 'Degraded')?.status === 'True');
  running.operator.queue.add(`${namespace.name}/orders`);
  await running.whenIdle();
  const described = await scene.plane.kubectl(['describe', 'walstorage', 'orders', '-n', namespace.name]);
  const events = described.slice(described.indexOf('Events:')).split('\n').slice(3);
  const told = (what: RegExp): number => events.filter((line) => what.test(line)).length;
  const order = ['NoPods', 'Rendered', 'AllPodsReady', 'UrlsNotAvailable'].map((reason) =>
    events.findIndex((line) => line.includes(` ${reason} `)),
  );
  assert.deepEqual(
    order.toSorted((a, b) => a - b),
    order,
    described,
  );
  assert.equal(told(/Normal +Rendered .*ConfigMap orders-walstorage holds the configuration\.$/), 1, described);
  assert.equal(told(/Normal +AllPodsReady .*walstorage-operator +1 of 1 pod ready\.$/), 1, described);
  assert.equal(
    told(/Warning +UrlsNotAvailable .* in pod db-0 is Full \(no space left; delete what .*\)\.$/),
    1,
    described,
  );
});
