/** A StatefulSet of three with the label: what a newcomer sees, and that nothing acknowledged is lost whatever happens to its pods. */
import assert from 'node:assert/strict';
import type { RealCluster } from '../cluster/real-cluster.ts';
import { eventually, testOnNode } from './node-scene.ts';
import { StatefulDatabases } from './stateful-databases.ts';

const replicas = 3;
const collections = 33;

let started: Promise<StatefulDatabases> | undefined;

/** A test with the chart installed and three databases running; the first one installs them. */
function testDatabases(name: string, body: (databases: StatefulDatabases) => Promise<void>): void {
  testOnNode(name, async (cluster) => {
    started ??= start(cluster);
    await body(await started);
  });
}

async function start(cluster: RealCluster): Promise<StatefulDatabases> {
  const databases = new StatefulDatabases(cluster);
  await databases.installChart();
  await databases.applyExamples();
  return databases;
}

testDatabases(
  'helm install, the two examples: 3 pods of 3 ready, 33 collections, kubectl get and describe tell it',
  async (databases) => {
    await databases.states();
    await databases.status('33 collections of 3 pods are reported', ({ status }) => {
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
  for (const pod of databases.pods()) await databases.cluster.node.killContainer(pod.name, 'walstorage');
  await databases.unharmed(before, false);
  for (const pod of databases.pods()) assert.equal(await pod.restarts('proximadb'), 0);
});

testDatabases('R1: pods deleted at once, with no grace, lose nothing acknowledged', async (databases) => {
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
    await databases.status('the pods that left are no longer reported', ({ status }) => status?.podCount === 1);
    await databases.kubectl('scale', 'statefulset/proximadb', '--replicas=3');
    await databases.rolledOut();
    await databases.unharmed(before, true);
  },
);
