/** The node itself: our image as a native sidecar by hand, what survives restarts of the node's programs, and that nothing is left. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { processesIn } from '../cluster/processes.ts';
import { DatabasePod } from './database-pod.ts';
import { eventually, testOnNode } from './node-scene.ts';
import { podByHand } from './pod-by-hand.ts';

const podName = 'by-hand';
const entriesMore = 110;

/** Control groups of this machine whose name has these words. */
const cgroupsNamed = (words: string): string[] =>
  readdirSync('/sys/fs/cgroup', { recursive: true, encoding: 'utf8' }).filter((path) => path.includes(words));

testOnNode(
  'a pod with our image as a native sidecar starts the database when the log serves; it replays what was acknowledged',
  async (cluster) => {
    await cluster.controlPlane.apply(...podByHand(podName));
    const database = new DatabasePod(cluster, 'default', podName);
    const state = await database.appends(entriesMore);
    assert.ok(state.readyAtStart);
    assert.deepEqual([state.lost, state.doubled], [0, 0]);
  },
);

testOnNode(
  'R1: kill -9 of the sidecar, kubelet or containerd loses nothing acknowledged, and doubles nothing',
  async (cluster) => {
    const database = new DatabasePod(cluster, 'default', podName);
    const before = await database.appends(entriesMore);
    const restarts = await database.restarts('database');

    await cluster.node.stopKubelet();
    await cluster.node.restartContainerd();
    await cluster.node.startKubelet();
    await eventually('the node is Ready', () => cluster.node.isReady());
    const after = await database.appends(entriesMore);
    assert.equal(after.replays, before.replays, 'containers went on meanwhile');

    await cluster.node.killContainer(podName, 'walstorage');
    const again = await database.until(
      'it has replayed',
      ({ replays, appending }) => appending && replays > after.replays,
    );
    assert.ok(again.verified >= after.acknowledged, JSON.stringify(again));
    assert.deepEqual([again.lost, again.doubled], [0, 0]);
    assert.equal(await database.restarts('walstorage'), 1);
    assert.equal(await database.restarts('database'), restarts);
  },
);

testOnNode('a cluster that ends leaves no process, mount, network, control group or file', async (cluster) => {
  const { directory, cgroup } = cluster.enclosure;
  const network = await cluster.enclosure.run('readlink', '/proc/self/ns/net');
  assert.ok(processesIn(network.trim()).length > 0);
  assert.ok(cgroupsNamed(cgroup.path.slice(1)).length > 0);
  await cluster.stop();
  assert.deepEqual(processesIn(network.trim()), []);
  assert.deepEqual(cgroupsNamed(cgroup.path.slice(1)), []);
  assert.ok(!existsSync(directory));
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes(directory));
});
