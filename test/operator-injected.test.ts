/** Webhook and operator together on a real API server: what injection mounts is made, what it writes is gone by. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { WalStorageSpec } from '../crds/walstorage.generated.ts';
import { claimName } from '../operator/claim-name.ts';
import { claims, type Pod } from '../operator/kubernetes.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { condition, namespaceFor } from './operator-scene.ts';
import { eventually, Namespace } from './running-operator.ts';
import { RunningWebhook } from './running-webhook.ts';
import { applyStatefulSet, replacementOf, servePod, servePods } from './simulated-pods.ts';

let plane: ControlPlane;
let webhook: RunningWebhook;
before(async () => {
  plane = await ControlPlane.start({ withControllers: true });
  await plane.installCrd();
  webhook = await RunningWebhook.start(plane);
});
after(async () => {
  await webhook?.stop();
  await plane?.stop();
});

/** With one claim a pod for each of these volumes. */
function specOf(names: readonly string[], more: Partial<WalStorageSpec> = {}): WalStorageSpec {
  const claimTemplate = { resources: { requests: { storage: '1Gi' } } };
  const volumes = names.map((name) => ({ name, mountPath: `/mnt/${name}`, claimTemplate }));
  return { volumes, wal: { urls: names.map((name) => ({ url: `file:///mnt/${name}/wal` })) }, ...more };
}

/** As a user writes it: only the label is ours. */
async function applyDatabase(namespace: Namespace, replicas: number): Promise<void> {
  const securityContext = { fsGroup: 1000, runAsUser: 1000 };
  const containers = [{ name: 'db', image: 'db.invalid/db' }];
  const spec = { serviceAccountName: 'db', securityContext, containers };
  await applyStatefulSet(plane, namespace, { replicas, spec });
}

async function claimOf(namespace: Namespace, volume: string, pod: string): Promise<string> {
  const name = claimName('orders', volume, pod);
  return await eventually(`the claim ${name}`, async () => (await namespace.find(claims, name))?.metadata.uid);
}

function mounted(pod: Pod): string[] {
  return (pod.spec.volumes ?? []).flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? []);
}

test('O2 O6 an added claimTemplate: named as waiting, then Restart replaces the pods, which find their old claims', async (t) => {
  const namespace = await namespaceFor(t, plane, 'added');
  await namespace.applyStorage('orders', specOf(['a']));
  await applyDatabase(namespace, 2);
  const [first, second] = await servePods(namespace, 2);
  assert.ok(first !== undefined && second !== undefined);
  const kept = [await claimOf(namespace, 'a', 'db-0'), await claimOf(namespace, 'a', 'db-1')];
  const ready = await namespace.status(
    'orders',
    'ready',
    (storage) => condition(storage, 'Ready')?.reason === 'AllPodsReady',
  );
  assert.equal(condition(ready, 'Degraded')?.status, 'False', 'the sidecars are there');
  assert.equal(condition(ready, 'Ready')?.message, '2 of 2 pods ready.');

  await namespace.applyStorage('orders', specOf(['a', 'b']));
  await namespace.status('orders', 'who waits', (storage) => {
    return condition(storage, 'Ready')?.message.includes('2 pods run with an older spec: db-0, db-1.') === true;
  });
  assert.equal(await namespace.find(claims, claimName('orders', 'b', 'db-1')), undefined, 'nobody mounts it yet');
  for (const pod of [first, second]) await servePod(namespace, pod);
  await namespace.applyStorage('orders', specOf(['a', 'b'], { rollout: 'Restart' }));
  const newSecond = await replacementOf(namespace, second, [first]);
  assert.deepEqual(mounted(newSecond), [claimName('orders', 'a', 'db-1'), claimName('orders', 'b', 'db-1')]);
  await servePod(namespace, newSecond);
  await servePod(namespace, await replacementOf(namespace, first, [newSecond]));
  const done = await namespace.status('orders', 'all replaced', (storage) => {
    return condition(storage, 'Ready')?.message === '2 of 2 pods ready.' && storage.status?.updatedPods === 2;
  });
  assert.equal(condition(done, 'Degraded')?.status, 'False');
  assert.deepEqual([await claimOf(namespace, 'a', 'db-0'), await claimOf(namespace, 'a', 'db-1')], kept);
  for (const pod of ['db-0', 'db-1']) await claimOf(namespace, 'b', pod);
});
