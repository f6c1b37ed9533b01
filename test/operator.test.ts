/** The operator on a real API server with controller-manager: each test has a namespace and an operator of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pino from 'pino';
import type { PodStatus, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { pruneEntry } from '../operator/apply.ts';
import { runOperator } from '../operator/command.ts';
import { configKey, managedByLabel } from '../operator/desired.ts';
import {
  type ConfigMap,
  configMaps,
  type Resource,
  type RoleBinding,
  roleBindings,
  roles,
  type WalStorage,
  walStorages,
} from '../operator/kubernetes.ts';
import { parse } from '../sidecar/config/parse.ts';
import { example } from './crd-refusals.ts';
import { condition, OperatorScene } from './operator-scene.ts';
import { eventually, type Namespace, Proxy } from './running-operator.ts';

const commandFile = fileURLToPath(new URL('../sidecar/cli/main.ts', import.meta.url));

const scene = new OperatorScene('test');

const owned: readonly (readonly [Resource, string])[] = [
  [configMaps, 'orders-walstorage'],
  [roles, 'orders-walstorage'],
  [roleBindings, 'orders-walstorage'],
];
const everything = [[walStorages, 'orders'] as const, ...owned];

/** Whether the operator has seen the newest spec, and Ready has this reason. */
function isReadyFor(reason: string): (storage: WalStorage) => boolean {
  return (storage) => {
    const ready = condition(storage, 'Ready');
    return ready?.reason === reason && ready.observedGeneration === storage.metadata.generation;
  };
}

function withFlushSize(memoryFlushSize: string): WalStorageSpec {
  return { ...example.spec, wal: { ...example.spec.wal, memoryFlushSize } };
}

function entry(collections: number): Omit<PodStatus, 'name' | 'uid'> {
  const urls = example.spec.wal.urls.map(({ url }, index) => ({
    url,
    state: 'Available' as const,
    collections: index === 0 ? collections : 0,
    bytes: index === 0 ? collections * 1000 : 0,
  }));
  return { ready: true, collections, bytes: collections * 1000, urls };
}

async function renderedText(namespace: Namespace): Promise<string> {
  const configMap = await namespace.find<ConfigMap>(configMaps, 'orders-walstorage');
  return configMap?.data?.[configKey] ?? '';
}

test('O1 examples/walstorage.yaml: a ConfigMap that parses, a Role and RoleBinding for its pods, a status', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'Ready without pods', isReadyFor('NoPods'));
  const pod = await namespace.createPod('db-0', 'orders');
  await namespace.status('orders', 'waits for the pod', isReadyFor('PodsNotReady'));
  await namespace.report('orders', pod, entry(11));
  const { status } = await namespace.status('orders', 'Ready with a pod', isReadyFor('AllPodsReady'));

  const text = await renderedText(namespace);
  const parsed = parse(text, { POD_NAME: 'db-0', POD_NAMESPACE: namespace.name });
  assert.deepEqual([parsed.problems, parsed.warnings], [[], []]);
  assert.equal(parsed.configuration?.wal.distributionStrategy, 'LoadBalanced');
  const binding = await namespace.find<RoleBinding>(roleBindings, 'orders-walstorage');
  assert.deepEqual(binding?.subjects, [{ kind: 'ServiceAccount', name: 'db', namespace: namespace.name }]);
  assert.deepEqual(
    [status?.urlCount, status?.podCount, status?.readyPods, status?.collections, status?.bytes, status?.size],
    [2, 1, 1, 11, 11_000, '10.74 KiB'],
  );
  assert.deepEqual(status?.urls?.[0], { url: 'file:///mnt/wal1/wal', collections: 11, bytes: 11_000, available: 1 });
  const shown = await scene.plane.kubectl(['get', 'walstorage', '-n', namespace.name, '--no-headers']);
  assert.match(shown, /^orders +LoadBalanced +2 +1 +1 +11 +10\.74 KiB +\d+s\s*$/);
});

test('R8 a reconcile of what is as it should be writes nothing: by the same operator, and by another', async (t) => {
  const namespace = await scene.namespace(t);
  const first = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const pod = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', pod, entry(3));
  await namespace.status('orders', 'Ready', isReadyFor('AllPodsReady'));
  await first.whenIdle();
  const versions = await namespace.versions(...everything);
  const { writes } = first.client;

  first.operator.queue.add(`${namespace.name}/orders`);
  await first.whenIdle();
  assert.equal(first.client.writes, writes);
  const second = scene.operator(t, namespace);
  await second.whenIdle();
  assert.equal(second.client.writes, 0);
  assert.deepEqual(await namespace.versions(...everything), versions);
  assert.ok(versions.every((version) => version !== undefined));
});

test('R8 what somebody changes or deletes of ours comes back', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  const text = await renderedText(namespace);
  const changed = JSON.stringify({
    data: { [configKey]: 'rubbish' },
    metadata: { labels: { [managedByLabel]: null } },
  });
  await scene.plane.kubectl(['patch', 'configmap', 'orders-walstorage', '-n', namespace.name, '-p', changed]);
  await eventually('the file is back', async () => (await renderedText(namespace)) === text || undefined);
  await namespace.delete('role', 'orders-walstorage');
  await eventually('the Role is back', () => namespace.find(roles, 'orders-walstorage'));
});

test('O10 every connection cut, again and again: the operator goes on', async (t) => {
  const namespace = await scene.namespace(t);
  const proxy = await Proxy.start(scene.plane);
  const { operator } = scene.operator(t, namespace, { server: proxy.url });
  t.after(() => proxy.stop());
  await namespace.applyStorage('orders', withFlushSize('1Mi'));
  for (let mebibytes = 2; mebibytes <= 4; mebibytes += 1) {
    await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
    const cuts = mebibytes - 1;
    await eventually('every watch was cut', () => {
      proxy.cut();
      return operator.reflectors.every(({ counts }) => counts.failures >= cuts) || undefined;
    });
    await namespace.applyStorage('orders', withFlushSize(`${mebibytes}Mi`));
  }
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  assert.match(await renderedText(namespace), /memory_flush_size_bytes = 4194304/);
  for (const { counts } of operator.reflectors) assert.equal(counts.lists, 1, 'a cut watch needs no list');
});

test('O10 the API server killed and started again, its memory of old versions gone (410): the operator goes on', async (t) => {
  const namespace = await scene.namespace(t);
  const { operator } = scene.operator(t, namespace);
  await namespace.applyStorage('orders', withFlushSize('1Mi'));
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  await scene.plane.stopApiServer();
  await eventually(
    'all watches have failed',
    () => operator.reflectors.every(({ counts }) => counts.failures > 0) || undefined,
  );
  await scene.plane.startApiServer();
  await namespace.applyStorage('orders', withFlushSize('2Mi'));
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  assert.match(await renderedText(namespace), /memory_flush_size_bytes = 2097152/);
  assert.ok(
    operator.reflectors.some(({ counts }) => counts.lists > 1),
    'at least one version was forgotten: 410',
  );
});

test('O10 writes that fail are tried again', async (t) => {
  const namespace = await scene.namespace(t);
  const { client } = scene.operator(t, namespace);
  client.failures = 3;
  await namespace.applyStorage('orders', example.spec);
  const { status } = await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  assert.equal(client.failures, 0);
  assert.equal(status?.configMap, 'orders-walstorage');
});

test('O1 objects of our name that others made are never touched: NameTaken, until they are gone', async (t) => {
  const namespace = await scene.namespace(t);
  const theirs = { name: 'orders-walstorage', namespace: namespace.name };
  await scene.plane.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: theirs, data: { mine: 'yes' } });
  const untouched = await namespace.find<ConfigMap>(configMaps, 'orders-walstorage');
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const taken = await namespace.status('orders', 'NameTaken', isReadyFor('NameTaken'));
  assert.match(condition(taken, 'ConfigRendered')?.message ?? '', /ConfigMap orders-walstorage exists .* delete it/);
  await running.lookAgain(`${namespace.name}/orders`);
  assert.deepEqual(await namespace.find(configMaps, 'orders-walstorage'), untouched);
  await namespace.delete('configmap', 'orders-walstorage');
  await namespace.status('orders', 'rendered', isReadyFor('NoPods'));
  assert.match(await renderedText(namespace), /rendered_by/);
});

test('deleting the resource with the operator stopped leaves nothing of ours', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  await running.stop();
  await namespace.delete('walstorage', 'orders');
  await eventually(
    'all is gone',
    async () => (await namespace.versions(...everything)).every((version) => version === undefined) || undefined,
  );
});

test('deleting the resource in the foreground, the operator running, leaves nothing of ours', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  await scene.plane.kubectl(['delete', 'walstorage', 'orders', '-n', namespace.name, '--cascade=foreground']);
  await eventually(
    'all is gone',
    async () => (await namespace.versions(...everything)).every((version) => version === undefined) || undefined,
  );
});

test('deleting the namespace with the operator stopped is held up by nothing of ours', async (t) => {
  const namespace = await scene.namespace(t);
  const running = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
  await running.stop();
  await scene.plane.kubectl(['delete', 'namespace', namespace.name, '--timeout=30s']);
});

test('the entry of a pod that is gone is pruned, again if it writes late; that of its successor stays', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const earlier = await namespace.createPod('db-0', 'orders');
  const other = await namespace.createPod('db-1', 'orders');
  await namespace.report('orders', earlier, entry(5));
  await namespace.report('orders', other, entry(7));
  await namespace.status('orders', 'both', ({ status }) => status?.collections === 12 && status.readyPods === 2);

  const isPruned = ({ metadata, status }: WalStorage): boolean =>
    status?.pods?.length === 1 &&
    status.collections === 7 &&
    !metadata.managedFields?.some(({ manager }) => manager === `pod-${earlier.metadata.uid}`);
  await namespace.delete('pod', 'db-0');
  await namespace.status('orders', 'pruned', isPruned);
  await namespace.report('orders', earlier, entry(5));
  await namespace.status('orders', 'pruned again', isPruned);

  const successor = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', successor, entry(6));
  const taken = await namespace.status('orders', 'taken over', ({ status }) => status?.collections === 13);
  assert.equal(taken.status?.pods?.find(({ name }) => name === 'db-0')?.uid, successor.metadata.uid);
});

test('the entry of a pod that is there is not pruned, whatever a late copy of the pods says', async (t) => {
  const namespace = await scene.namespace(t);
  const { client } = scene.operator(t, namespace);
  const storage = await namespace.applyStorage('orders', example.spec);
  const pod = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', pod, entry(5));
  const { uid } = pod.metadata;
  const prune = { manager: `pod-${uid}`, uid, podName: 'db-0' };
  assert.equal(await pruneEntry(client, storage, prune, new AbortController().signal), undefined);
  assert.equal((await namespace.storage('orders')).status?.pods?.length, 1);
});

test('a pod of the same name takes the entry over while the earlier one is still recorded', async (t) => {
  const namespace = await scene.namespace(t);
  await namespace.applyStorage('orders', example.spec);
  const earlier = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', earlier, entry(5));
  await namespace.delete('pod', 'db-0');
  const successor = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', successor, entry(5));
  const both = (await namespace.storage('orders')).metadata.managedFields?.map(({ manager }) => manager);
  assert.ok(both?.includes(`pod-${earlier.metadata.uid}`), 'equal fields have both managers');
  scene.operator(t, namespace);
  const left = await namespace.status('orders', 'only the successor is recorded', ({ metadata, status }) => {
    const managers = metadata.managedFields?.map(({ manager }) => manager) ?? [];
    return status?.collections === 5 && !managers.includes(`pod-${earlier.metadata.uid}`);
  });
  assert.equal(left.status?.pods?.[0]?.uid, successor.metadata.uid);
});

test('O7 a used URL removed while the status lagged stays rendered until it is put back, and the status goes on', async (t) => {
  const namespace = await scene.namespace(t);
  const first = scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const pod = await namespace.createPod('db-0', 'orders');
  await namespace.status('orders', 'waits', isReadyFor('PodsNotReady'));
  await first.stop();
  await namespace.report('orders', pod, entry(3));
  const reduced = { ...example.spec, wal: { urls: example.spec.wal.urls.slice(1) } };
  await namespace.applyStorage('orders', reduced);

  scene.operator(t, namespace);
  const refused = await namespace.status('orders', 'UrlInUse', isReadyFor('UrlInUse'));
  assert.match(condition(refused, 'Ready')?.message ?? '', /file:\/\/\/mnt\/wal1\/wal .* Put it back/);
  assert.match(await renderedText(namespace), /"file:\/\/\/mnt\/wal2\/wal", "file:\/\/\/mnt\/wal1\/wal"/);
  await namespace.report('orders', pod, entry(4));
  await namespace.status('orders', 'reports are still taken', ({ status }) => status?.collections === 4);
  await namespace.applyStorage('orders', example.spec);
  await namespace.status('orders', 'put back', isReadyFor('AllPodsReady'));
});

test('O7 with the status up to date the API server refuses the removal itself', async (t) => {
  const namespace = await scene.namespace(t);
  scene.operator(t, namespace);
  await namespace.applyStorage('orders', example.spec);
  const pod = await namespace.createPod('db-0', 'orders');
  await namespace.report('orders', pod, entry(3));
  await namespace.status('orders', 'counted', ({ status }) => status?.urls?.[0]?.collections === 3);
  const reduced = { ...example.spec, wal: { urls: example.spec.wal.urls.slice(1) } };
  await assert.rejects(namespace.applyStorage('orders', reduced), /a URL that holds collections cannot be removed/);
});

function rule(group: string, resources: readonly string[], verbs: readonly string[] = ['*']): object {
  return { apiGroups: [group], resources, verbs };
}

test('a right that the operator lacks is named in the conditions; once granted, the work goes on', async (t) => {
  const namespace = await scene.namespace(t);
  const grant = (...rules: readonly object[]): Promise<void> => {
    const metadata = { name: 'operator', namespace: namespace.name };
    const rbac = 'rbac.authorization.k8s.io';
    const subjects = [{ kind: 'ServiceAccount', name: 'db', namespace: namespace.name }];
    const roleRef = { apiGroup: rbac, kind: 'Role', name: 'operator' };
    return scene.plane.apply(
      { apiVersion: `${rbac}/v1`, kind: 'Role', metadata, rules },
      { apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata, subjects, roleRef },
    );
  };
  const ours = rule('wal.proximadb.io', ['walstorages', 'walstorages/status']);
  const readRbac = rule('rbac.authorization.k8s.io', ['roles', 'rolebindings'], ['list', 'watch']);
  const core = rule('', ['configmaps', 'pods', 'persistentvolumeclaims']);
  await grant(ours, core, readRbac);
  const token = await scene.plane.createServiceAccountToken(namespace.name, 'db');
  scene.operator(t, namespace, { token });
  await namespace.applyStorage('orders', example.spec);
  const refused = await namespace.status('orders', 'refused', isReadyFor('ApplyRefused'));
  assert.match(
    condition(refused, 'Ready')?.message ?? '',
    /Role orders-walstorage was refused by the API server: .*cannot patch resource "roles"/,
  );
  assert.match(refused.status?.configHash ?? '', /^[0-9a-f]{64}$/, 'the ConfigMap could be made');
  await grant(ours, core, rule('rbac.authorization.k8s.io', ['roles', 'rolebindings']));
  await namespace.status('orders', 'granted', isReadyFor('NoPods'));
});

/** `walstorage operator` as a process of its own, and the address that it says it listens on. */
async function spawnOperator(
  t: TestContext,
  namespace: Namespace,
): Promise<{ process: ChildProcess; address: string }> {
  const flags = ['--kubeconfig', scene.plane.kubeconfig, '--http', '127.0.0.1:0', '--namespace', namespace.name];
  const child = spawn(process.execPath, [commandFile, 'operator', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const address = await eventually('it says where it listens', () => {
    assert.equal(child.exitCode, null, output);
    return /"http":"([^"]+)"/.exec(output)?.[1];
  });
  return { process: child, address };
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`walstorage operator: works, serves health and metrics, and ends cleanly at ${signal}`, async (t) => {
    const namespace = await scene.namespace(t);
    const { process: operator, address } = await spawnOperator(t, namespace);
    await namespace.applyStorage('orders', example.spec);
    await namespace.status('orders', 'Ready', isReadyFor('NoPods'));
    for (const path of ['startupz', 'readyz', 'livez']) {
      const response = await fetch(`http://${address}/${path}`);
      assert.equal(response.status, 200);
      assert.match(await response.text(), /^\{"status":"ok","checks":\[\{"name":/);
    }
    const names = await eventually('nothing waits any more', async () => {
      const metrics = await (await fetch(`http://${address}/metrics`)).text();
      const lines = metrics.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      return lines.includes('proximadb_wal_operator_queue_depth 0') ? lines : undefined;
    });
    assert.ok(names.every((name) => name.startsWith('proximadb_wal_')));
    for (const name of ['reconcile_duration_seconds_count', 'watch_lists_total{path=']) {
      assert.ok(
        names.some((line) => line.startsWith(`proximadb_wal_operator_${name}`)),
        name,
      );
    }
    operator.kill(signal);
    await once(operator, 'exit');
    assert.deepEqual([operator.exitCode, operator.signalCode], [0, null]);
  });
}

test('walstorage operator: what it cannot start with is said', async () => {
  const flags = { namespaces: [], logger: pino({ level: 'silent' }), signal: new AbortController().signal };
  const wrongAddress = runOperator({ ...flags, kubeconfig: scene.plane.kubeconfig, http: 'nowhere' });
  await assert.rejects(wrongAddress, /HTTP address "nowhere" is not HOST:PORT/);
  await assert.rejects(runOperator({ ...flags, http: '127.0.0.1:0' }), /name a kubeconfig with --kubeconfig FILE/);
});
