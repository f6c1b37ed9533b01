/** The claims that the operator makes, on a real API server with controller-manager: quota, storage classes, binding. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatusCondition, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { claimName } from '../operator/claim-name.ts';
import {
  claims,
  type KubernetesObject,
  type PersistentVolumeClaim,
  type WalStorage,
  walStorages,
} from '../operator/kubernetes.ts';
import { condition, OperatorScene } from './operator-scene.ts';
import { provideVolumes } from './provided-volumes.ts';
import { eventually, type Namespace } from './running-operator.ts';

const scene = new OperatorScene('claims');

/** Two claims a pod. */
function specOf(storage: string, storageClassName?: string): WalStorageSpec {
  const volumes = ['a', 'b'].map((name) => ({
    name,
    mountPath: `/mnt/${name}`,
    claimTemplate: {
      resources: { requests: { storage } },
      ...(storageClassName === undefined ? {} : { storageClassName }),
    },
  }));
  return { volumes, wal: { urls: volumes.map(({ mountPath }) => ({ url: `file://${mountPath}/wal` })) } };
}

const nameOf = (volume: string, pod: string): string => claimName('orders', volume, pod);
const claimsOf = (pod: string): Record<string, string> => ({ a: nameOf('a', pod), b: nameOf('b', pod) });

async function createPods(namespace: Namespace, ...names: readonly string[]): Promise<void> {
  for (const name of names) await namespace.createPod(name, 'orders', { claims: claimsOf(name) });
}

/** Waits until the claims of these pods are there, and returns their uids, with those of no others. */
async function uidsOf(namespace: Namespace, ...podNames: readonly string[]): Promise<string[]> {
  const names = podNames.flatMap((pod) => Object.values(claimsOf(pod)));
  return await eventually(`claims of ${podNames.join()}`, async () => {
    const found = await Promise.all(names.map((name) => namespace.find(claims, name)));
    const uids = found.flatMap((claim) => claim?.metadata.uid ?? []);
    return uids.length === names.length ? uids : undefined;
  });
}

function degraded(storage: WalStorage): StatusCondition | undefined {
  return condition(storage, 'Degraded');
}

function isDegradedFor(reason: string): (storage: WalStorage) => boolean {
  return (storage) => degraded(storage)?.reason === reason;
}

test('O2 each pod gets its claims, owned by nobody; the WalStorage has an event', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0');
  await uidsOf(namespace, 'db-0');
  const claim = await namespace.find<PersistentVolumeClaim>(claims, nameOf('a', 'db-0'));
  assert.equal(claim?.metadata.ownerReferences, undefined);
  assert.deepEqual(claim?.metadata.labels, {
    'app.kubernetes.io/managed-by': 'walstorage-operator',
    'wal.proximadb.io/storage': 'orders',
    'wal.proximadb.io/volume': 'a',
  });
  assert.deepEqual(claim?.spec.accessModes, ['ReadWriteOnce']);
  assert.equal(claim?.spec.resources?.requests?.storage, '1Gi');
  const described = await eventually('the event', async () => {
    const text = await scene.plane.kubectl(['describe', 'walstorage', 'orders', '-n', namespace.name]);
    return text.includes('ClaimCreated') ? text : undefined;
  });
  const names = `${nameOf('a', 'db-0')} \\(1Gi, pod db-0\\), ${nameOf('b', 'db-0')} \\(1Gi, pod db-0\\)`;
  assert.match(
    described,
    new RegExp(`Normal +ClaimCreated .*walstorage-operator +Made PersistentVolumeClaim ${names}\\.`),
  );
});

test('O2 claims outlive their pods, the WalStorage and the operator, and are used again: 3, 1, 3 pods; reinstalled', async (t) => {
  const namespace = await scene.namespace(t);
  const first = scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0', 'db-1', 'db-2');
  const uids = await uidsOf(namespace, 'db-0', 'db-1', 'db-2');
  await namespace.delete('pod', 'db-1');
  await namespace.delete('pod', 'db-2');
  await namespace.status('orders', 'one pod', ({ status }) => status?.podCount === 1);
  await createPods(namespace, 'db-1', 'db-2');
  await namespace.status('orders', 'three pods', ({ status }) => status?.podCount === 3);
  await first.whenIdle();
  assert.deepEqual(await uidsOf(namespace, 'db-0', 'db-1', 'db-2'), uids);

  await first.stop();
  for (const pod of ['db-0', 'db-1', 'db-2']) await namespace.delete('pod', pod);
  await namespace.delete('walstorage', 'orders');
  await eventually('the WalStorage is gone', async () => {
    const left = await namespace.list<KubernetesObject>(walStorages);
    return left.length === 0 || undefined;
  });
  const kept = await namespace.list<PersistentVolumeClaim>(claims);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0', 'db-1', 'db-2');
  // Claims come before the status.
  await namespace.status('orders', 'three pods', ({ status }) => status?.podCount === 3);
  assert.deepEqual(await namespace.list<PersistentVolumeClaim>(claims), kept, 'they are as they were');
});

test('R8 O2 claims that are there are not written again', async (t) => {
  const namespace = await scene.namespace(t);
  const first = scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0');
  await uidsOf(namespace, 'db-0');
  await first.whenIdle();
  const second = scene.operator(t, namespace);
  await second.whenIdle();
  assert.equal(second.client.writes, 0);
});

/** The claims of db-0 become bound, to volumes of a storage class of this name. */
async function provide(namespace: Namespace, allowVolumeExpansion: boolean): Promise<string> {
  const className = `${namespace.name}-class`;
  const claimNames = Object.values(claimsOf('db-0'));
  await provideVolumes(scene.plane, namespace, { className, allowVolumeExpansion, claimNames });
  return className;
}

async function bound(namespace: Namespace, podName: string): Promise<void> {
  await eventually('the claims are bound', async () => {
    const all = await Promise.all(
      Object.values(claimsOf(podName)).map((name) => namespace.find<PersistentVolumeClaim>(claims, name)),
    );
    return all.every((claim) => claim?.status?.phase === 'Bound') || undefined;
  });
}

async function sizeOf(namespace: Namespace, name: string): Promise<unknown> {
  return (await namespace.find<PersistentVolumeClaim>(claims, name))?.spec.resources?.requests?.storage;
}

test('a larger size in the spec grows the claims; a smaller one is refused at apply, and a new WalStorage leaves them', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  const storageClass = await provide(namespace, true);
  await namespace.applyStorage('orders', specOf('1Gi', storageClass));
  await createPods(namespace, 'db-0');
  await bound(namespace, 'db-0');
  await namespace.applyStorage('orders', specOf('2Gi', storageClass));
  for (const name of Object.values(claimsOf('db-0'))) {
    await eventually(`${name} asks for 2Gi`, async () => (await sizeOf(namespace, name)) === '2Gi' || undefined);
  }
  await assert.rejects(namespace.applyStorage('orders', specOf('1Gi', storageClass)), /a claim can't shrink/);
  await namespace.delete('walstorage', 'orders');
  await eventually('it is gone', async () => (await namespace.find(walStorages, 'orders')) === undefined || undefined);
  await namespace.applyStorage('orders', specOf('1Gi', storageClass));
  // Claims come before the status.
  await namespace.status('orders', 'the smaller size is seen', ({ status }) => status?.podCount === 1);
  assert.equal(await sizeOf(namespace, nameOf('a', 'db-0')), '2Gi');
});

test('a storage class that refuses growth: ClaimRefused, with what the API server says, and what to do', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  const storageClass = await provide(namespace, false);
  await namespace.applyStorage('orders', specOf('1Gi', storageClass));
  await createPods(namespace, 'db-0');
  await bound(namespace, 'db-0');
  await namespace.applyStorage('orders', specOf('2Gi', storageClass));
  const refused = await namespace.status('orders', 'ClaimRefused', isDegradedFor('ClaimRefused'));
  const message = degraded(refused)?.message ?? '';
  assert.match(
    message,
    new RegExp(`^PersistentVolumeClaim ${nameOf('a', 'db-0')} of pod db-0 cannot grow from 1Gi to 2Gi\\. `),
  );
  assert.match(message, /The API server says: .*resize.*\. Set allowVolumeExpansion: true on its/);
  assert.match(message, new RegExp(`The same holds for ${nameOf('b', 'db-0')}\\.$`));
  await scene.plane.kubectl(['patch', 'storageclass', storageClass, '-p', '{"allowVolumeExpansion": true}']);
  await namespace.status('orders', 'grown', (storage) => degraded(storage)?.status === 'False');
  assert.equal(await sizeOf(namespace, nameOf('b', 'db-0')), '2Gi');
});

test('O1 a claim of our name that others made is never touched: NameTaken, until it is gone', async (t) => {
  const namespace = await scene.namespace(t);
  const name = nameOf('a', 'db-0');
  await scene.plane.apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: namespace.name },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '512Mi' } } },
  });
  const theirs = await namespace.find(claims, name);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0');
  const taken = await namespace.status('orders', 'NameTaken', isDegradedFor('NameTaken'));
  assert.match(degraded(taken)?.message ?? '', new RegExp(`^PersistentVolumeClaim ${name} exists and was not made by`));
  await uidsOf(namespace, 'db-0');
  assert.deepEqual(await namespace.find(claims, name), theirs);
  await namespace.delete('pvc', name);
  await eventually('it is made anew', async () => {
    const found = await namespace.find(claims, name);
    return (found !== undefined && found.metadata.uid !== theirs?.metadata.uid) || undefined;
  });
});

/** A quota of so many claims, once the API server holds to it. */
async function limitClaims(namespace: Namespace, count: number): Promise<void> {
  const hard = { persistentvolumeclaims: String(count) };
  await scene.plane.apply({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'few', namespace: namespace.name },
    spec: { hard },
  });
  await eventually('the quota holds', async () => {
    const shown = await scene.plane.kubectl([
      'get',
      'quota',
      'few',
      '-n',
      namespace.name,
      '-o',
      'jsonpath={.status.hard}',
    ]);
    return shown.includes(`"${count}"`) || undefined;
  });
}

test('a quota: ClaimRefused in clear words, other pods go on; once it is raised, the claim is made', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await limitClaims(namespace, 3);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await createPods(namespace, 'db-0', 'db-1');
  const refused = await namespace.status('orders', 'ClaimRefused', isDegradedFor('ClaimRefused'));
  await uidsOf(namespace, 'db-0');
  const name = nameOf('b', 'db-1');
  assert.match(
    degraded(refused)?.message ?? '',
    new RegExp(
      `^PersistentVolumeClaim ${name} \\(1Gi\\) cannot be made, and pod db-1 waits for it\\. The API server says: .*exceeded quota: few.*\\. Raise the namespace's ResourceQuota`,
    ),
  );
  const ready = condition(refused, 'Ready');
  assert.match(ready?.message ?? '', new RegExp(`db-1 \\(its claim ${name} is refused, see Degraded\\)`));
  await limitClaims(namespace, 4);
  await uidsOf(namespace, 'db-0', 'db-1');
  await namespace.status('orders', 'no longer refused', (storage) => degraded(storage)?.status === 'False');
});

test('a pod without the sidecar gets no claim, and is named: SidecarMissing, until it is made anew', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', specOf('1Gi'));
  await namespace.createPod('db-0', 'orders', { hasSidecar: false });
  const missing = await namespace.status('orders', 'SidecarMissing', isDegradedFor('SidecarMissing'));
  assert.match(degraded(missing)?.message ?? '', /^1 pod without the sidecar: db-0\. .*: delete them, so that/);
  await running.whenIdle();
  assert.deepEqual(await namespace.list<PersistentVolumeClaim>(claims), []);
  await namespace.delete('pod', 'db-0');
  await createPods(namespace, 'db-0');
  await namespace.status('orders', 'it has one', (storage) => degraded(storage)?.status === 'False');
  await uidsOf(namespace, 'db-0');
});
