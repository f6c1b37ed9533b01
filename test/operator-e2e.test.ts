/** The whole way on a real API server: a WalStorage is declared, rendered, served by a sidecar process, and reported. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { WalStorage } from '../crds/walstorage.generated.ts';
import { load } from '../sidecar/config/parse.ts';
import { LocalCluster } from './cluster/local-cluster.ts';

const collections = Array.from({ length: 11 }, (_, index) => `collection_${index + 1}`);
const entries = 47;
const payloadBytes = 6144;
/** From the last append's reply to its sight in `kubectl get`. */
const reportedWithinMs = 5_000;
/** R9: no append waits for the API server. A sync on a loaded machine may take a part of it. */
const appendWithinMs = 2_000;
/** Long enough for the publisher to fail more than once. */
const outageMs = 6_000;

let cluster: LocalCluster;
before(async () => {
  cluster = await LocalCluster.start();
});
after(async () => cluster?.stop());

/** Waits until the status tells what `WAL.STAT` tells of these collections. */
async function reported(names: readonly string[]): Promise<void> {
  const bytes = await cluster.sum('bytes', names);
  await cluster.status(`${names.length} collections with ${bytes} bytes are reported`, ({ status }) => {
    return status?.collections === names.length && status.bytes === bytes && status.updatedPods === 1;
  });
}

test('examples/walstorage.yaml is rendered, and the ConfigMap is what a sidecar reads without a warning', async () => {
  const { configuration, problems, warnings } = await load(cluster.configFile, {});
  assert.deepEqual([problems, warnings], [[], []]);
  assert.deepEqual(
    configuration?.wal.urls.map(({ written }) => written),
    cluster.storage.spec.wal.urls.map(({ url }) => url),
  );
});

test('the service account of the pod may patch the status of its WalStorage, and nothing else', async () => {
  const asPod = ['--as=system:serviceaccount:default:proximadb', 'auth', 'can-i'];
  const may = async (...what: readonly string[]) =>
    cluster.controlPlane.kubectl([...asPod, ...what]).then(
      (answer) => answer.trim() === 'yes',
      () => false,
    );
  assert.ok(await may('patch', `walstorages/${cluster.name}`, '--subresource=status'));
  assert.ok(!(await may('patch', 'walstorages/other', '--subresource=status')));
  assert.ok(!(await may('patch', `walstorages/${cluster.name}`)));
  assert.ok(!(await may('get', `walstorages/${cluster.name}`)));
  assert.ok(!(await may('get', 'secrets')));
});

test('11 collections are served, and kubectl get walstorage shows them and their bytes within 5 s', async () => {
  await cluster.status('the sidecar is ready', ({ status }) => status?.readyPods === 1);
  await cluster.append(collections, entries, payloadBytes);
  const appendedMs = performance.now();
  await reported(collections);
  const shown = await cluster.controlPlane.kubectl(['get', 'walstorage', cluster.name]);
  const tookMs = performance.now() - appendedMs;
  const [head = '', row = ''] = shown.split('\n').map((line) => line.trim());
  assert.deepEqual(head.split(/ +/), ['NAME', 'STRATEGY', 'URLS', 'PODS', 'READY', 'COLLECTIONS', 'SIZE', 'AGE']);
  assert.deepEqual(row.split(/ {2,}/).slice(0, 6), [cluster.name, 'LoadBalanced', '2', '1', '1', '11']);
  assert.match(row, / 3\.\d\d MiB /);
  assert.ok(tookMs < reportedWithinMs, `it took ${Math.round(tookMs)} ms`);
});

const pod = ({ status }: WalStorage) => status?.pods?.[0];

test('O6 a changed field is in force and reported without a restart; a bad file is reported, and the old one in force', async () => {
  const old = await cluster.read();
  const { pid } = cluster.sidecar ?? {};
  const patch = JSON.stringify({ spec: { wal: { memoryFlushSize: '4Mi' } } });
  await cluster.controlPlane.kubectl(['patch', 'walstorage', cluster.name, '--type=merge', '-p', patch]);
  await cluster.status(
    'the new configuration is rendered',
    ({ status }) => status?.configHash !== old.status?.configHash,
  );
  await cluster.mountConfiguration();
  await cluster.status('it is in force', ({ status }) => status?.updatedPods === 1);
  const bad = 'storage.wal_config.linger_ms = "soon"';
  await writeFile(cluster.configFile, `[storage.wal_config]\nwal_urls = ["file:///x"]\nlinger_ms = "soon"\n`);
  const { status } = await cluster.status(
    'the error is reported',
    (storage) => pod(storage)?.configError?.includes(bad) ?? false,
  );
  assert.equal(status?.pods?.[0]?.configHash, status?.configHash);
  await cluster.mountConfiguration();
  await cluster.status(
    'the error is gone',
    (storage) => pod(storage) !== undefined && pod(storage)?.configError === undefined,
  );
  assert.equal(cluster.sidecar?.pid, pid);
});

test('R9: the API server killed meanwhile harms no append, and the status is right after its return', async () => {
  await cluster.controlPlane.stopApiServer();
  const names = [...collections];
  let slowestMs = 0;
  const endMs = performance.now() + outageMs;
  while (performance.now() < endMs) {
    const name = `outage_${names.length}`;
    const startMs = performance.now();
    await cluster.append([name], 1, 100);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    names.push(name);
    await setTimeout(100);
  }
  assert.ok(slowestMs < appendWithinMs, `the slowest append took ${Math.round(slowestMs)} ms`);
  await cluster.controlPlane.startApiServer();
  await reported(names);
});

test('R9 R1: a sidecar that is killed starts without the API server, with all that was acknowledged', async () => {
  const names = ['survivor_1', 'survivor_2'];
  await cluster.append(names, entries, payloadBytes);
  await cluster.controlPlane.stopApiServer();
  await cluster.sidecar?.kill();
  await cluster.startSidecar();
  assert.equal(await cluster.sum('entries', names), names.length * entries);
  await cluster.controlPlane.startApiServer();
});
