/** What becomes of databases that run when the operator is away, is upgraded, or is uninstalled. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { nextReleaseImage, nextVersion } from '../cluster/images.ts';
import { eventually } from './node-scene.ts';
import { replicas, type StatefulDatabases, testDatabases } from './stateful-databases.ts';

/** How often the sidecars were started again. */
async function restarts(databases: StatefulDatabases): Promise<number[]> {
  return Promise.all(databases.pods.map((pod) => pod.restarts('walstorage')));
}

testDatabases(
  'without operators labelled pods wait and others start; sidecars go on; afterwards all is well',
  async (databases) => {
    const before = await databases.states();
    await databases.installation.scale(0);
    await databases.kubectl('delete', 'pod', 'proximadb-2');
    const isRefused = async (): Promise<boolean> =>
      (await databases.kubectl('events', '--for=statefulset/proximadb')).includes('failed calling webhook');
    await eventually('the StatefulSet tells why its pod cannot be made', isRefused);
    await databases.cluster.controlPlane.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'unlabelled' },
      spec: { containers: [{ name: 'pause', image: 'localhost/pause:1' }] },
    });
    await databases.cluster.kubectl(['wait', '--for=condition=Ready', 'pod/unlabelled', '--timeout=60s']);
    await databases.cluster.node.killContainer('proximadb-0', 'walstorage');
    const [first, , third] = before;
    assert.ok(first !== undefined && third !== undefined);
    await databases.tenant.database(0).unharmed(first, false);
    await databases.installation.scale(2);
    await databases.rolledOut();
    await databases.tenant.database(2).unharmed(third, true);
    await databases.tenant.storage('all pods are ready', ({ status }) => status?.readyPods === replicas);
  },
);

testDatabases(
  'an upgraded operator serves sidecars of the release before, and restarts none; killed once each, they lose nothing',
  async (databases) => {
    const { cluster } = databases;
    await cluster.node.loadImage(await nextReleaseImage());
    const before = await databases.states();
    const was = await restarts(databases);
    await databases.installation.upgrade(['--set', 'image.tag=next']);
    const rendered = async (): Promise<boolean> =>
      (await databases.kubectl('get', 'configmap', 'orders-walstorage', '-o', 'yaml')).includes(nextVersion);
    await eventually('the new operator has rendered the configuration', rendered);
    await databases.tenant.storage('all pods report it', ({ status }) => status?.updatedPods === replicas);
    assert.deepEqual(await restarts(databases), was);
    await databases.killSidecars();
    await databases.unharmed(before, false);
    await databases.tenant.storage('all pods report it after their crash', ({ status }) => {
      return status?.updatedPods === replicas && status.readyPods === replicas;
    });
  },
);

testDatabases(
  'helm uninstall leaves the WalStorage, the claims, and the databases that run with all their data',
  async (databases) => {
    const before = await databases.states();
    await databases.installation.helm.uninstall();
    await databases.kubectl('get', 'walstorage', 'orders');
    const claims = (await databases.kubectl('get', 'pvc', '-o', 'name')).trim().split('\n');
    // Two of the WalStorage and one of the database itself for each pod.
    assert.equal(claims.length, replicas * 3);
    const after = await databases.states();
    assert.deepEqual(
      after.map(({ lost, replays }) => [lost, replays]),
      before.map(({ lost, replays }) => [lost, replays]),
    );
    const volumes = join(databases.cluster.enclosure.directory, 'volumes');
    assert.ok(readdirSync(volumes, { recursive: true, encoding: 'utf8' }).some((path) => path.endsWith('.avro')));
  },
);
