/** Configuration and its mistakes on a real node: what changes in running pods, what waits for their replacement, and what people are told. */
import assert from 'node:assert/strict';
import { describe, type TestContext } from 'node:test';
import type { PodStatus, WalStorageSpec } from '../../crds/walstorage.generated.ts';
import type { WalStorage } from '../../operator/kubernetes.ts';
import { example } from '../crd-refusals.ts';
import { type Installation, testInstalled } from './installation.ts';
import { eventually } from './node-scene.ts';
import { setName, type Tenant } from './tenant.ts';

const claimTemplate = { resources: { requests: { storage: '1Gi' } } };

/** What a sidecar tells in its own container: others don't get to see it. */
async function ask<Answer>(tenant: Tenant, ordinal: number, path: string): Promise<Answer> {
  const script = `process.stdout.write(await (await fetch('http://127.0.0.1:9464${path}')).text())`;
  return JSON.parse(await inSidecar(tenant, ordinal, 'node', '--input-type=module', '-e', script));
}

function inSidecar(tenant: Tenant, ordinal: number, ...command: readonly string[]): Promise<string> {
  return tenant.kubectl(['exec', `${setName}-${ordinal}`, '-c', 'walstorage', '--', ...command]);
}

function patch(tenant: Tenant, spec: object): Promise<string> {
  const change = JSON.stringify({ spec });
  return tenant.kubectl(['patch', 'walstorage', 'orders', '--type=merge', '-p', change]);
}

function conditionOf({ status }: WalStorage, type: string): string {
  const { reason, message } = status?.conditions?.find((one) => one.type === type) ?? {};
  return `${reason}: ${message}`;
}

/** Waits until a condition says that, and returns the whole of it. */
async function condition(tenant: Tenant, type: string, says: RegExp): Promise<string> {
  const found = await tenant.storage(`${type} says ${says}`, (storage) => says.test(conditionOf(storage, type)));
  return conditionOf(found, type);
}

async function restarts(tenant: Tenant, ordinal: number): Promise<number[]> {
  const database = tenant.database(ordinal);
  return [await database.restarts('walstorage'), await database.restarts('proximadb')];
}

async function annotation(tenant: Tenant, ordinal: number, name: string): Promise<string> {
  const pod = JSON.parse(await tenant.kubectl(['get', 'pod', `${setName}-${ordinal}`, '-o', 'json']));
  return String(pod.metadata.annotations?.[name]);
}

interface ConfigurationView {
  readonly configuration: { readonly storage: { readonly wal_config: Readonly<Record<string, unknown>> } };
}

async function changedThreshold(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'hot');
  await tenant.runDatabase({ replicas: 2 });
  const before = await tenant.isReady(2);

  const threshold = (size: string) => patch(tenant, { wal: { globalFlushThreshold: size } });
  await assert.rejects(threshold('1Mi'), /globalFlushThreshold: .*128Mi/);
  const patchedMs = performance.now();
  await threshold('256Mi');
  const { status } = await tenant.storage('all sidecars report the new configuration', (storage) => {
    return storage.status?.updatedPods === 2 && storage.status.configHash !== before.status?.configHash;
  });
  t.diagnostic(`in force in all sidecars after ${Math.round(performance.now() - patchedMs)} ms`);
  for (const ordinal of [0, 1]) {
    // That it comes at once is the nudge's work: a kubelet that nobody nudges takes a minute and more.
    assert.match(
      await annotation(tenant, ordinal, 'wal.proximadb.io/config-hash'),
      new RegExp(`^${status?.configHash}`),
    );
    const { configuration } = await ask<ConfigurationView>(tenant, ordinal, '/v1/config');
    assert.equal(configuration.storage.wal_config['global_flush_threshold'], 256 * 2 ** 20);
    assert.deepEqual(await restarts(tenant, ordinal), [0, 0]);
  }
}

async function editedConfigMap(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'by-hand');
  await tenant.runDatabase({ replicas: 1 });
  const content = ['get', 'configmap', 'orders-walstorage', '-o', 'jsonpath={.data}'];
  const good = await tenant.kubectl(content);
  const edit = async (metadata: object): Promise<void> => {
    const data = { 'walstorage.toml': '[storage.wal_config]\nwal_urls = 7\n' };
    const change = JSON.stringify({ metadata, data });
    await tenant.kubectl(['patch', 'configmap', 'orders-walstorage', '--type=merge', '-p', change]);
  };
  await edit({});
  await eventually('it is put back', async () => (await tenant.kubectl(content)) === good);

  await edit({ ownerReferences: null });
  // The kubelet looks at once.
  await tenant.kubectl(['annotate', 'pods', '--all', 'look=now']);
  t.diagnostic(await condition(tenant, 'Degraded', /^ConfigRefused: 1 sidecar refused .*wal_urls = 7: must be a list/));
  t.diagnostic(await condition(tenant, 'ConfigRendered', /^NameTaken: ConfigMap orders-walstorage exists/));
  await tenant.kubectl(['delete', 'configmap', 'orders-walstorage']);
  await condition(tenant, 'Degraded', /^AllUrlsWork/);
  await tenant.database(0).appends(11);
  assert.deepEqual(await restarts(tenant, 0), [0, 0]);
}

/** The example's spec with one more volume, and a URL on it. */
function withThirdVolume(): WalStorageSpec {
  const { volumes = [], wal } = example.spec;
  return {
    volumes: [...volumes, { name: 'wal3', mountPath: '/mnt/wal3', claimTemplate }],
    wal: { ...wal, urls: [...wal.urls, { url: 'file:///mnt/wal3/wal' }] },
  };
}

/** What the sidecar of the first pod reports. */
function firstOf({ status }: WalStorage): PodStatus | undefined {
  return status?.pods?.find(({ name }) => name === `${setName}-0`);
}

/** How many pods have the third URL in that state. */
function third({ status }: WalStorage, state: string): number {
  return (status?.pods ?? []).filter(({ urls }) => urls?.[2]?.state === state).length;
}

async function addedUrl(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'pending');
  const replicas = 3;
  await tenant.runDatabase({ replicas });
  await tenant.storage('each URL has collections', ({ status }) =>
    Boolean(status?.urls?.every(({ collections }) => collections >= replicas)),
  );
  await tenant.applyStorage(withThirdVolume());
  const before = await tenant.storage('it is Pending in all', (storage) => third(storage, 'Pending') === replicas);

  await installation.cluster.node.killContainer(`${setName}-0`, 'walstorage', tenant.namespace);
  await tenant.storage('the new sidecar reports', (storage) => {
    const [now, then] = [storage, before].map((one) => Date.parse(firstOf(one)?.lastReportTime ?? ''));
    return third(storage, 'Pending') === replicas && (now ?? 0) > (then ?? 0) && firstOf(storage)?.ready === true;
  });
  await eventually('it was a crash', async () => (await tenant.database(0).restarts('walstorage')) === 1);
  t.diagnostic(await condition(tenant, 'Ready', /^AllPodsReady: .*not used yet \(Pending\) by 3 pods/));

  await patch(tenant, { rollout: 'Restart' });
  await tenant.storage('it is Available in all', (storage) => third(storage, 'Available') === replicas);
  await condition(tenant, 'Ready', /^AllPodsReady: 3 of 3 pods ready\.$/);
  await isOneByOne(tenant, replicas);
  await inSidecar(tenant, 0, 'walstorage', 'append', 'fresh', 'payload');
  await tenant.storage('it is used', ({ status }) => status?.urls?.[2]?.collections === 1);
  for (const ordinal of [0, 1, 2]) {
    const { lost, doubled, verified } = await tenant.database(ordinal).appends(11);
    assert.deepEqual([lost, doubled, verified > 0], [0, 0, true]);
  }
}

interface MadePod {
  readonly metadata: { readonly name: string; readonly creationTimestamp: string };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly lastTransitionTime: string }[] };
}

/** Each pod was made when its predecessor, of the next ordinal, was Ready; the highest first. */
async function isOneByOne(tenant: Tenant, replicas: number): Promise<void> {
  const { items }: { items: readonly MadePod[] } = JSON.parse(await tenant.kubectl(['get', 'pods', '-o', 'json']));
  const pods = new Map(items.map((pod) => [pod.metadata.name, pod]));
  for (let ordinal = replicas - 1; ordinal > 0; ordinal--) {
    const [first, next] = [pods.get(`${setName}-${ordinal}`), pods.get(`${setName}-${ordinal - 1}`)];
    const ready = first?.status.conditions.find(({ type }) => type === 'Ready');
    const readyAt = Date.parse(ready?.lastTransitionTime ?? '');
    assert.ok(readyAt <= Date.parse(next?.metadata.creationTimestamp ?? ''), `${ordinal}, then ${ordinal - 1}`);
  }
}

async function removedUrl(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'removed');
  await tenant.runDatabase({ replicas: 1 });
  await tenant.storage('each URL has collections', ({ status }) =>
    Boolean(status?.urls?.every(({ collections }) => collections > 0)),
  );
  const [first] = example.spec.wal.urls;
  assert.ok(first);
  const removed = { ...example.spec, wal: { ...example.spec.wal, urls: [first] } };
  await assert.rejects(tenant.applyStorage(removed), /a URL that holds collections cannot be removed or changed/);
}

interface UrlsView {
  readonly urls: readonly { readonly url: string; readonly state: string; readonly reason?: string }[];
}

const onBucket: WalStorageSpec = {
  volumes: [{ name: 'wal1', mountPath: '/mnt/wal1', claimTemplate }],
  wal: {
    urls: [
      { url: 'file:///mnt/wal1/wal' },
      { url: 's3://wal-bucket1/proximadb', credentialsSecretRef: { name: 'wal-s3' } },
    ],
  },
};

async function rotatedSecret(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'secrets');
  await tenant.runDatabase({ replicas: 1, spec: onBucket });
  t.diagnostic(await condition(tenant, 'Degraded', /^UrlsNotAvailable: .*the Secret wal-s3 does not exist/));

  const store = async (stringData: object): Promise<void> => {
    await tenant.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'wal-s3' }, stringData });
    // The kubelet looks at once, instead of within a minute.
    await tenant.kubectl(['annotate', 'pods', '--all', '--overwrite', `look=${Object.keys(stringData).join('.')}`]);
  };
  await store({ AWS_ACCESS_KEY: 'AKIA0000', AWS_SECRET_ACCESS_KEY: 'of-nobody' });
  t.diagnostic(await condition(tenant, 'Degraded', /^UrlsNotAvailable: .*the Secret wal-s3 lacks AWS_ACCESS_KEY_ID/));
  await store({ AWS_ACCESS_KEY_ID: 'AKIA0000', AWS_SECRET_ACCESS_KEY: 'of-nobody' });
  await eventually('the sidecar has the whole Secret', async () => {
    const { urls } = await ask<UrlsView>(tenant, 0, '/v1/urls');
    return urls.some(({ reason = '' }) => reason.startsWith('s3:// comes with a later version'));
  });
  assert.deepEqual(await restarts(tenant, 0), [0, 0]);
  const told = [
    await tenant.kubectl(['get', 'walstorage', '-o', 'yaml']),
    await tenant.kubectl(['logs', `${setName}-0`, '-c', 'walstorage']),
    await installation.describe(),
  ];
  assert.doesNotMatch(told.join('\n'), /AKIA0000|of-nobody/);
}

async function fullVolume(installation: Installation, t: TestContext): Promise<void> {
  const tenant = await installation.tenant(t, 'full');
  await installation.cluster.volumes.addSmall('small', 1, 32 * 2 ** 20);
  const small = { storageClassName: 'small', resources: { requests: { storage: '16Mi' } } };
  const volumes = [{ name: 'wal1', mountPath: '/mnt/wal1', claimTemplate: small }];
  await tenant.runDatabase({ replicas: 1, spec: { volumes, wal: { urls: [{ url: 'file:///mnt/wal1/wal' }] } } });
  const before = await tenant.database(0).appends(11);

  const fill = `const { openSync, writeSync } = require('node:fs');
      const file = openSync('/mnt/wal1/ballast', 'w');
      try { for (;;) writeSync(file, Buffer.alloc(4096, 1)); } catch (error) { process.stdout.write(error.code); }`;
  assert.equal(await inSidecar(tenant, 0, 'node', '-e', fill), 'ENOSPC');
  const { refused } = await tenant.database(0).until('it is refused', (state) => state.refused !== undefined);
  assert.match(refused ?? '', /^NOSPACE file:\/\/\/mnt\/wal1\/wal is full: /);
  t.diagnostic(refused ?? '');
  t.diagnostic(await condition(tenant, 'Degraded', /^UrlsNotAvailable: file:\/\/\/mnt\/wal1\/wal .*Full/));
  t.diagnostic(await condition(tenant, 'Ready', /^PodsNotReady: 0 of 1 pod ready; waiting for proximadb-0 \(/));

  await inSidecar(tenant, 0, 'node', '-e', "require('node:fs').unlinkSync('/mnt/wal1/ballast')");
  const after = await tenant.database(0).appends(11);
  assert.ok(after.verified >= before.acknowledged, JSON.stringify(after));
  assert.deepEqual([after.lost, after.doubled], [0, 0]);
  assert.deepEqual(await restarts(tenant, 0), [0, 0]);
}

// Each has a namespace of its own, and waits most of its time for reports of sidecars. The longest come first.
void describe('on one cluster', { concurrency: 3 }, () => {
  testInstalled(
    'O5 O6 an added URL is Pending in old pods, through a crash too; rollout: Restart replaces them one by one, and it is used',
    addedUrl,
  );
  testInstalled(
    'R7 a missing Secret and a wrong key in it are the condition Degraded; a rotated one reaches the sidecar without a restart',
    rotatedSecret,
  );
  testInstalled(
    'O6 a changed threshold comes into force in all sidecars without a restart, the kubelets nudged; a bad one is refused by kubectl',
    changedThreshold,
  );
  testInstalled(
    'O6 R8 a ConfigMap edited by hand is put back; one that somebody took over is told, the sidecar keeps the old one, and heals at once',
    editedConfigMap,
  );
  testInstalled('O7 a URL that holds collections is not removed: kubectl apply says why', removedUrl);
  testInstalled(
    'R3 a full volume: NOSPACE to the database, Full in the status, and it goes on once there is room',
    fullVolume,
  );
});
