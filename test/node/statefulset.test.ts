/** A StatefulSet of three with the label: what a newcomer sees, and that nothing acknowledged is lost whatever happens to its pods. */
import assert from 'node:assert/strict';
import type { State } from './database.ts';
import { eventually } from './node-scene.ts';
import { restrictedContainer, restrictedPod } from './pod-by-hand.ts';
import { replicas, type StatefulDatabases, testDatabases } from './stateful-databases.ts';

const collections = 33;

testDatabases(
  'helm install, the two examples: 3 pods of 3 ready, 33 collections, kubectl get and describe tell it',
  async (databases) => {
    await databases.states();
    await databases.tenant.storage('33 collections of 3 pods are reported', ({ status }) => {
      return status?.collections === collections && status.readyPods === replicas && status.updatedPods === replicas;
    });
    const [head = '', row = ''] = (await databases.kubectl('get', 'walstorage', 'orders')).split('\n');
    assert.deepEqual(head.split(/ +/).slice(0, 7), [
      'NAME',
      'STRATEGY',
      'URLS',
      'PODS',
      'READY',
      'COLLECTIONS',
      'SIZE',
    ]);
    assert.deepEqual(row.split(/ {2,}/).slice(0, 6), ['orders', 'LoadBalanced', '2', '3', '3', '33']);
    const described = await databases.kubectl('describe', 'walstorage', 'orders');
    for (const words of ['Ready', 'proximadb-0', 'file:///mnt/wal1/wal'])
      assert.ok(described.includes(words), described);
  },
);

testDatabases(
  'O4: the sidecar serves before the database starts, and until its last append at the end is acknowledged',
  async (databases) => {
    const before = await databases.states();
    assert.deepEqual(
      before.map(({ readyAtStart }) => readyAtStart),
      [true, true, true],
    );
    await databases.kubectl('delete', 'pod', 'proximadb-0');
    await databases.rolledOut();
    const [state] = await databases.unharmed(before.slice(0, 1), true);
    assert.deepEqual([state?.readyAtStart, state?.endedInOrder], [true, true]);
  },
);

testDatabases('R1: kill -9 of a sidecar loses nothing acknowledged, and the database goes on', async (databases) => {
  const before = await databases.states();
  for (const pod of databases.pods) await databases.cluster.node.killContainer(pod.name, 'walstorage');
  await databases.unharmed(before, false);
  for (const pod of databases.pods) assert.equal(await pod.restarts('proximadb'), 0);
});

testDatabases('R1: pods deleted with a second of grace lose nothing acknowledged', async (databases) => {
  const before = await databases.states();
  await databases.kubectl('delete', 'pod', '-l', 'wal.proximadb.io/storage=orders', '--grace-period=1');
  await databases.rolledOut();
  await databases.unharmed(before, true);
});

testDatabases('R1: kubelet and containerd killed and started again lose nothing acknowledged', async (databases) => {
  const before = await databases.states();
  await databases.cluster.node.stopKubelet();
  await databases.cluster.node.restartContainerd();
  await databases.cluster.node.startKubelet();
  await eventually('the node is Ready', () => databases.cluster.node.isReady());
  const after = await databases.states();
  assert.deepEqual(
    after.map(({ replays }) => replays),
    before.map(({ replays }) => replays),
  );
  assert.deepEqual(
    after.map(({ lost, doubled }) => lost + doubled),
    [0, 0, 0],
  );
});

testDatabases('R1: a drained node evicts the pods, and nothing acknowledged is lost', async (databases) => {
  const before = await databases.states();
  await databases.cluster.kubectl([
    'drain',
    'node1',
    '--pod-selector',
    'wal.proximadb.io/storage=orders',
    '--delete-emptydir-data',
  ]);
  await databases.cluster.kubectl(['uncordon', 'node1']);
  await databases.rolledOut();
  const after = await databases.unharmed(before, true);
  assert.deepEqual(
    after.map(({ endedInOrder }) => endedInOrder),
    [true, true, true],
  );
});

testDatabases('R1: a rolling update of the StatefulSet loses nothing acknowledged', async (databases) => {
  const before = await databases.states();
  await databases.kubectl('rollout', 'restart', 'statefulset/proximadb');
  await databases.rolledOut();
  await databases.unharmed(before, true);
});

testDatabases(
  'R1 O2: scaled from 3 to 1 and back, the pods find their claims and all that was acknowledged',
  async (databases) => {
    const before = await databases.states();
    await databases.kubectl('scale', 'statefulset/proximadb', '--replicas=1');
    await databases.kubectl('wait', '--for=delete', 'pod/proximadb-1', 'pod/proximadb-2', '--timeout=120s');
    await databases.tenant.storage('the pods that left are no longer reported', ({ status }) => status?.podCount === 1);
    await databases.kubectl('scale', 'statefulset/proximadb', '--replicas=3');
    await databases.rolledOut();
    for (const number of [1, 2]) {
      const was = before[number];
      if (was !== undefined) await databases.tenant.database(number).unharmed(was, true);
    }
  },
);

testDatabases(
  'a Job with the label completes, its sidecar after it, and its last append is durable',
  async (databases) => {
    const metadata = { name: 'import' };
    const volumes = [{ name: 'data', mountPath: '/mnt/data', podVolume: { name: 'data' } }];
    await databases.tenant.apply(
      {
        apiVersion: 'wal.proximadb.io/v1alpha1',
        kind: 'WalStorage',
        metadata,
        // Whoever mounts the claim finds the log on it, whatever the pod is called.
        spec: { volumes, wal: { urls: [{ url: 'file:///mnt/data/log' }] }, ephemeralPods: true },
      },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata,
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    );
    const rounds = 20;
    const completed = async (name: string, count: number): Promise<State> => {
      await databases.tenant.apply(importJob(name, count));
      await databases
        .kubectl('wait', '--for=condition=complete', `job/${name}`, '--timeout=120s')
        .catch(async (error: unknown) => {
          throw new Error(`${String(error)}\n${await databases.tenant.describe()}`, { cause: error });
        });
      const replayed = (await databases.kubectl('logs', `job/${name}`))
        .split('\n')
        .find((line) => line.includes('"replayed"'));
      return JSON.parse(replayed ?? '{}');
    };
    assert.equal((await completed('import', rounds)).verified, 0);
    const state = await completed('check', 1);
    assert.equal(state.verified, rounds * (collections / replicas));
    assert.ok(state.endedInOrder && state.readyAtStart);
  },
);

testDatabases(
  'the token of a sidecar, as it lies in its volume, changes its own entry and nothing else',
  async (databases) => {
    const [own, other] = ['proximadb-0', 'proximadb-1'];
    const uid = await databases.kubectl('get', 'pod', own, '-o', 'jsonpath={.metadata.uid}');
    const token = await sidecarToken(databases, uid);
    const entry = { name: own, uid, ready: true };
    const apply = async (status: object, name = 'orders'): Promise<string> =>
      applyStatus(databases, token, uid, status, name);
    // While the sidecar reports, its manager is ours: the entry is whole again at its next report.
    await apply({ pods: [entry] });
    await assert.rejects(apply({ pods: [entry, { name: other, ready: false }] }), /denied request/);
    await assert.rejects(apply({ pods: [entry], podCount: 7 }), /denied request/);
    const ready = { type: 'Ready', status: 'True', reason: 'Mine', lastTransitionTime: '2026-01-01T00:00:00Z' };
    await assert.rejects(apply({ pods: [entry], conditions: [{ ...ready, message: 'ours' }] }), /denied request/);
    await assert.rejects(apply({ pods: [entry] }, 'import'), /cannot patch resource "walstorages\/status"/);
    const asSidecar = async (...args: readonly string[]) => withToken(databases, token, args);
    await assert.rejects(asSidecar('get', 'secrets'), /cannot list resource "secrets"/);
    const change = ['patch', 'walstorage', 'orders', '--type=merge', '--patch', '{"spec": {"rollout": "Restart"}}'];
    await assert.rejects(asSidecar(...change), /cannot (get|patch) resource "walstorages"/);
  },
);

function importJob(name: string, rounds: number): object {
  const container = {
    name: 'import',
    image: 'localhost/database:test',
    env: [
      { name: 'LEDGER_DIR', value: '/data' },
      { name: 'ROUNDS', value: String(rounds) },
    ],
    volumeMounts: [{ name: 'data', mountPath: '/data' }],
    securityContext: restrictedContainer,
  };
  const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'import' } }];
  const spec = { restartPolicy: 'Never', securityContext: restrictedPod, containers: [container], volumes };
  const template = { metadata: { labels: { 'wal.proximadb.io/storage': 'import' } }, spec };
  return { apiVersion: 'batch/v1', kind: 'Job', metadata: { name }, spec: { backoffLimit: 0, template } };
}

/** The token in the volume of a pod's sidecar, as the kubelet wrote it. */
async function sidecarToken({ cluster }: StatefulDatabases, podUid: string): Promise<string> {
  const volume = `kubelet/pods/${podUid}/volumes/kubernetes.io~projected/walstorage-token`;
  return (await cluster.enclosure.run('cat', `${cluster.enclosure.directory}/${volume}/token`)).trim();
}

/** Runs kubectl with a token alone. */
async function withToken(
  databases: StatefulDatabases,
  token: string,
  args: readonly string[],
  input = '',
): Promise<string> {
  const { controlPlane } = databases.cluster;
  const server = ['--server', controlPlane.server, '--certificate-authority', controlPlane.caFile, '--token', token];
  const own = ['--kubeconfig', '/dev/null', '--cache-dir', `${controlPlane.directory}/as-token`];
  const flags = [...own, ...server, '-n', databases.tenant.namespace];
  return controlPlane.run(controlPlane.kubectlCommand, [...flags, ...args], { input });
}

/** Applies a status as the sidecar of a pod does. */
async function applyStatus(
  databases: StatefulDatabases,
  token: string,
  podUid: string,
  status: object,
  name: string,
): Promise<string> {
  const object = { apiVersion: 'wal.proximadb.io/v1alpha1', kind: 'WalStorage', metadata: { name }, status };
  const flags = ['--server-side', '--force-conflicts', '--subresource=status', `--field-manager=pod-${podUid}`];
  return withToken(databases, token, ['apply', ...flags, '--validate=false', '-f', '-'], JSON.stringify(object));
}
