/** The webhook on a real API server: what becomes of labelled pods, what people read, and certificates that rotate. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import type { Volume, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { inject } from '../operator/injection/inject.ts';
import type { AdmittedPod } from '../operator/injection/pod.ts';
import { issue } from '../operator/webhook/issue.ts';
import { restartHash } from '../sidecar/config/changes.ts';
import { CommandError, run } from './cluster/child.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { claim, podOf, specOf } from './injection-fixtures.ts';
import { startOperator } from './operator-process.ts';
import { eventually, Namespace } from './running-operator.ts';
import {
  configureWebhook,
  emptySecret,
  lifetimes,
  RunningWebhook,
  shownCertificate,
  systemNamespace,
} from './running-webhook.ts';

let plane: ControlPlane;
let webhook: RunningWebhook;
before(async () => {
  plane = await ControlPlane.start({ withControllers: true });
  await plane.installCrd();
  webhook = await RunningWebhook.start(plane);
  await eventually('it has a certificate', () => webhook.isReady || undefined);
});
after(async () => {
  await webhook?.stop();
  await plane?.stop();
});

let namespacesMade = 0;

async function namespaceFor(t: TestContext): Promise<Namespace> {
  namespacesMade += 1;
  const namespace = await Namespace.create(plane, `webhook-${namespacesMade}`);
  t.after(() => namespace.close());
  return namespace;
}

/** A pod of a StatefulSet that asks for `orders`, under an account that exists. */
function podNamed(name: string, change: Parameters<typeof podOf>[0] = {}): object {
  const { metadata, spec } = podOf(change);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name },
    spec: { ...spec, serviceAccountName: 'db' },
  };
}

interface Applied {
  readonly pod: AdmittedPod | undefined;
  /** What kubectl wrote to standard error: warnings, and why it failed. */
  readonly said: string;
}

/** `kubectl apply` in a namespace. */
async function apply(namespace: string, object: object): Promise<Applied> {
  let said = '';
  const args = ['--kubeconfig', plane.kubeconfig, 'apply', '-n', namespace, '-o', 'json', '-f', '-'];
  const onStderr = (piece: string): void => {
    said += piece;
  };
  try {
    const pod = JSON.parse(await run(plane.kubectlCommand, args, { input: JSON.stringify(object), onStderr }));
    return { pod, said };
  } catch (error) {
    if (error instanceof CommandError) return { pod: undefined, said };
    throw error;
  }
}

/** What the events of a namespace say of pods that could not be created. */
async function failedCreates(namespace: Namespace): Promise<string> {
  const wanted = ['get', 'events', '-n', namespace.name, '--field-selector', 'reason=FailedCreate'];
  return await plane.kubectl([...wanted, '-o', 'jsonpath={.items[*].message}']);
}

function workload(kind: 'StatefulSet' | 'Deployment', more: object = {}): object {
  const { metadata, spec } = podOf();
  const labels = { app: 'db', ...metadata.labels };
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name: 'db' },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'db' } },
      template: { metadata: { labels }, spec: { ...spec, serviceAccountName: 'db' } },
      ...more,
    },
  };
}

const spec = specOf([claim]);
const volatile = specOf([{ name: 'gone', mountPath: '/mnt/gone', emptyDir: {} }]);
const node: Volume = { name: 'node', mountPath: '/mnt/node', hostPath: { path: '/srv/wal' } };

test('O3 a labelled pod is injected and accepted; asked a second time, the webhook changes nothing', async (t) => {
  const namespace = await namespaceFor(t);
  const storage = await namespace.applyStorage('orders', spec);
  const asked = webhook.outcomes.length;
  const { pod, said } = await apply(namespace.name, podNamed('db-0'));
  assert.ok(pod !== undefined, said);
  const [sidecar] = pod.spec.initContainers ?? [];
  assert.deepEqual(
    [sidecar?.name, sidecar?.image, sidecar?.restartPolicy],
    ['walstorage', 'walstorage:test', 'Always'],
  );
  assert.equal(pod.metadata.annotations?.['wal.proximadb.io/injected'], restartHash(spec));
  // The ServiceAccount plugin has added its mount to our container, so the webhook was asked again.
  assert.deepEqual(webhook.outcomes.slice(asked), ['allowed', 'allowed']);
  const again = inject(pod, storage, { image: 'walstorage:test', restartHash: restartHash(spec) });
  assert.ok('pod' in again);
  assert.deepEqual(again.pod, pod);
});

test('a pod without the label is none of its business', async (t) => {
  const namespace = await namespaceFor(t);
  const asked = webhook.outcomes.length;
  const { pod, said } = await apply(namespace.name, podNamed('db-0', { metadata: { labels: {} } }));
  assert.ok(pod !== undefined, said);
  assert.deepEqual([pod.spec.initContainers, webhook.outcomes.length], [undefined, asked]);
});

const taken = (mountPath: string): Parameters<typeof podOf>[0] => ({
  container: { volumeMounts: [{ name: 'data', mountPath }] },
});
const database = { viper: { urls: [{ url: 'file:///mnt/nvme1/viper' }] } };
const sidecarLike = { name: 'walstorage', image: 'x' };

const refusals: readonly (readonly [
  what: string,
  spec: WalStorageSpec | undefined,
  pod: Parameters<typeof podOf>[0],
  message: RegExp,
])[] = [
  ['no such WalStorage', undefined, {}, /no WalStorage orders in namespace \S+: create it, or correct the label/],
  ['no fsGroup', spec, { spec: { securityContext: {} } }, /The pod has no fsGroup, .* set securityContext\.fsGroup: /],
  ['a name taken', spec, { spec: { initContainers: [sidecarLike] } }, /has a container walstorage already.* rename it/],
  [
    'a mountPath taken',
    specOf([claim], database),
    taken('/mnt/nvme1/viper'),
    /mounts volume data at \/mnt\/nvme1\/viper/,
  ],
  [
    'a spec whose URLs are one place in two spellings',
    { wal: { urls: [{ url: 'gs://bucket/wal' }, { url: 'gcs://bucket/wal' }] } },
    {},
    /the spec of WalStorage orders cannot be used: correct it first\. .*gcs:\/\/bucket\/wal/s,
  ],
];

for (const [what, wanted, change, message] of refusals) {
  test(`kubectl apply of a pod says why it is refused, and what to do: ${what}`, async (t) => {
    const namespace = await namespaceFor(t);
    if (wanted !== undefined) await namespace.applyStorage('orders', wanted);
    const { pod, said } = await apply(namespace.name, podNamed('db-0', change));
    assert.equal(pod, undefined);
    assert.match(
      said,
      /^Error from server \(Forbidden\): .*admission webhook "inject\.wal\.proximadb\.io" denied the request: /s,
    );
    assert.match(said, message);
    t.diagnostic(said.trim().split('denied the request: ').at(-1) ?? '');
  });
}

test('kubectl apply names the WalStorages that there are, where the label names none of them', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('order', spec);
  await eventually('the operator knows it', async () => {
    const { said } = await apply(namespace.name, podNamed('db-0'));
    return said.includes('There: order.') || undefined;
  });
});

test('of two pods with equal expanded URLs the second is refused, and the first is named', async (t) => {
  const [first, second] = [await namespaceFor(t), await namespaceFor(t)];
  const shared: WalStorageSpec = { volumes: [node], wal: { urls: [{ url: 'file:///mnt/node/${POD_NAME}' }] } };
  for (const namespace of [first, second]) await namespace.applyStorage('orders', shared);
  const { pod, said } = await apply(first.name, podNamed('db-0'));
  assert.ok(pod !== undefined, said);
  const refused = await eventually('the operator has seen the first', async () => {
    const applied = await apply(second.name, podNamed('db-0'));
    if (applied.pod === undefined) return applied.said;
    await plane.kubectl(['delete', 'pod', 'db-0', '-n', second.name, '--grace-period=0', '--force']);
    return undefined;
  });
  const message = `file:///mnt/node/db-0 (wal of WalStorage orders) is where pod db-0 of namespace ${first.name} writes already`;
  assert.ok(refused.includes(message), refused);
  t.diagnostic(refused.trim());
  // Its own name: a pod that is replaced is no other.
  const others = await apply(second.name, podNamed('db-1'));
  assert.ok(others.pod !== undefined, others.said);
});

test('a Deployment with a claimTemplate: its ReplicaSet says why there is no pod', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', spec);
  await apply(namespace.name, workload('Deployment'));
  const said = await eventually('an event', async () => (await failedCreates(namespace)) || undefined);
  assert.match(said, /denied the request: Volume nvme1 of WalStorage orders is a claimTemplate.*use a StatefulSet/);
  t.diagnostic(said);
});

test('a StatefulSet before its WalStorage: an event says what is missing, and its pod comes once it is there', async (t) => {
  const namespace = await namespaceFor(t);
  await apply(namespace.name, workload('StatefulSet', { serviceName: 'db' }));
  const said = await eventually('an event', async () => (await failedCreates(namespace)) || undefined);
  assert.match(said, /denied the request: no WalStorage orders in namespace \S+: create it/);
  t.diagnostic(said);
  await namespace.applyStorage('orders', spec);
  await eventually('its pod', async () => (await sidecarOf(namespace, 'db-0')) || undefined);
});

test('a quota that the sidecar goes over: an event says which and by how much, and the pod comes once it is raised', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', spec);
  const quota = (memory: string): Promise<void> =>
    plane.apply({
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'team', namespace: namespace.name },
      spec: { hard: { 'limits.memory': memory } },
    });
  await quota('512Mi');
  const { metadata, spec: podSpec } = podOf({ container: { resources: { limits: { memory: '64Mi' } } } });
  const labels = { app: 'db', ...metadata.labels };
  const template = { metadata: { labels }, spec: { ...podSpec, serviceAccountName: 'db' } };
  await apply(namespace.name, workload('StatefulSet', { serviceName: 'db', template }));
  const exceeded =
    /exceeded quota: team, requested: limits\.memory=832Mi, used: limits\.memory=0, limited: limits\.memory=512Mi/;
  const said = await eventually('an event', async () => {
    const events = await failedCreates(namespace);
    return exceeded.test(events) ? events : undefined;
  });
  t.diagnostic(said);
  await quota('1Gi');
  await eventually('its pod', async () => (await sidecarOf(namespace, 'db-0')) || undefined);
});

async function sidecarOf(namespace: Namespace, pod: string): Promise<string> {
  const path = 'jsonpath={.spec.initContainers[0].name}';
  return await plane.kubectl(['get', 'pod', pod, '-n', namespace.name, '--ignore-not-found', '-o', path]);
}

test('the webhook is down: labelled pods wait, others are not touched, and afterwards the pods come', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', spec);
  const { address } = webhook;
  await webhook.stopLeading();
  await webhook.down();
  try {
    const labelled = await apply(namespace.name, podNamed('alone-0'));
    assert.match(labelled.said, /failed calling webhook "inject\.wal\.proximadb\.io".*connection refused/s);
    const other = await apply(namespace.name, podNamed('other-0', { metadata: { labels: {} } }));
    assert.ok(other.pod !== undefined, other.said);
    await apply(namespace.name, workload('StatefulSet', { serviceName: 'db' }));
    const said = await eventually('an event', async () => (await failedCreates(namespace)) || undefined);
    assert.match(said, /failed calling webhook "inject\.wal\.proximadb\.io"/);
  } finally {
    await webhook.serve(address);
    webhook.lead();
  }
  await eventually('the pod of the StatefulSet', async () => (await sidecarOf(namespace, 'db-0')) || undefined);
});

/** Creates labelled pods one after another until it is stopped. */
class PodStream {
  created = 0;
  readonly refused: string[] = [];
  readonly #namespace: Namespace;
  readonly #ended: Promise<void>;
  readonly #stop = new AbortController();

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
    this.#ended = this.#run();
  }

  async #run(): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number++) {
      try {
        await this.#namespace.createPod(`db-${number}`, 'orders', { hasSidecar: false });
        this.created += 1;
      } catch (error) {
        this.refused.push(String(error));
      }
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

test('O9 certificates rotate again and again while pods are created, and not one is refused', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', volatile);
  // A replica that does not lead follows.
  const other = await webhook.startServing({ namespace: systemNamespace });
  t.after(() => other.stop());
  await eventually('it has a certificate too', () => other.webhook.checks().every(({ ok }) => ok) || undefined);
  const stream = new PodStream(namespace);
  t.after(() => stream.stop());
  const seen = new Set([(await shownCertificate(webhook.address)).fingerprint256]);
  const rotations = 10;
  while (seen.size <= rotations) {
    webhook.passTime();
    if (seen.size % 3 === 0) {
      // Another term begins in the middle of it.
      await webhook.stopLeading();
      webhook.lead();
    }
    const shown = await eventually('a new certificate is served by both', async () => {
      const [ours, others] = await Promise.all([webhook.address, other.webhook.address].map(shownCertificate));
      if (ours === undefined || seen.has(ours.fingerprint256)) return undefined;
      return others?.fingerprint256 === ours.fingerprint256 ? ours : undefined;
    });
    seen.add(shown.fingerprint256);
    const { created } = stream;
    await eventually('more pods', () => stream.created > created + 1 || stream.refused.length > 0 || undefined);
  }
  await stream.stop();
  assert.deepEqual(stream.refused, []);
  t.diagnostic(`${rotations} rotations, ${stream.created} pods created meanwhile, none refused`);
});

const secret = ['secret', emptySecret.metadata.name, '-n', systemNamespace];

async function secretField(path: string): Promise<string> {
  return await plane.kubectl(['get', ...secret, '-o', `jsonpath=${path}`]);
}

async function caBundle(): Promise<string> {
  const path = 'jsonpath={.webhooks[0].clientConfig.caBundle}';
  return await plane.kubectl(['get', 'mutatingwebhookconfiguration', 'walstorage-operator', '-o', path]);
}

test('O9 the operator owns caBundle in the webhook configuration, and nothing else of it', async () => {
  const wanted = ['get', 'mutatingwebhookconfiguration', 'walstorage-operator', '-o', 'json', '--show-managed-fields'];
  const { metadata }: { metadata: { managedFields: { manager: string; fieldsV1: object }[] } } = JSON.parse(
    await plane.kubectl(wanted),
  );
  const owned = metadata.managedFields.filter(({ manager }) => manager === 'walstorage-operator');
  const webhookFields = { '.': {}, 'f:clientConfig': { 'f:caBundle': {} }, 'f:name': {} };
  const fields = { 'f:webhooks': { 'k:{"name":"inject.wal.proximadb.io"}': webhookFields } };
  assert.deepEqual(
    owned.map(({ fieldsV1 }) => fieldsV1),
    [fields],
  );
});

test('what somebody empties or edits in Secret and caBundle comes back, and no pod is refused meanwhile', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', volatile);
  const stream = new PodStream(namespace);
  t.after(() => stream.stop());
  let last = await shownCertificate(webhook.address);
  const spoilt = [{ op: 'replace', path: '/data/tls.key', value: Buffer.from('not a key').toString('base64') }];
  for (const patch of [spoilt, [{ op: 'remove', path: '/data' }]]) {
    await plane.kubectl(['patch', ...secret, '--type=json', '-p', JSON.stringify(patch)]);
    last = await eventually('another certificate is served', async () => {
      const shown = await shownCertificate(webhook.address);
      return shown.fingerprint256 === last.fingerprint256 ? undefined : shown;
    });
  }
  await stream.stop();
  assert.deepEqual(stream.refused, []);
  assert.ok(!webhook.log.join('').includes('not a key'));

  const bundle = await caBundle();
  const emptied = [{ op: 'remove', path: '/webhooks/0/clientConfig/caBundle' }];
  const patch = ['patch', 'mutatingwebhookconfiguration', 'walstorage-operator', '--type=json'];
  await plane.kubectl([...patch, '-p', JSON.stringify(emptied)]);
  await eventually('caBundle is back', async () => (await caBundle()) === bundle || undefined);
});

test('a Secret with certificates of somebody else is left alone, and a missing one is named; what is served goes on', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', volatile);
  const theirs = { 'tls.crt': 'theirs', 'tls.key': 'theirs' };
  await plane.kubectl(['delete', ...secret]);
  await eventually('it is missed', () => webhook.log.join('').includes('create it, empty') || undefined);
  await plane.apply({ ...emptySecret, stringData: theirs });
  await eventually(
    'it says so',
    () => webhook.log.join('').includes("has content that is not the operator's") || undefined,
  );
  assert.equal(await secretField('{.data.tls\\.crt}'), Buffer.from('theirs').toString('base64'));
  const { pod, said } = await apply(namespace.name, podNamed('db-0'));
  assert.ok(pod !== undefined, said);

  await plane.kubectl(['delete', ...secret]);
  await plane.apply(emptySecret);
  await eventually('it is filled', async () => (await secretField('{.data.tls\\.crt}')) || undefined);
  assert.deepEqual(
    [await secretField('{.metadata.labels.app\\.kubernetes\\.io/managed-by}'), await secretField('{.type}')],
    ['Helm', 'Opaque'],
  );
});

test('--tls-dir: what is mounted there is served, and again when it has changed; caBundle is left alone', async (t) => {
  const namespace = await namespaceFor(t);
  await namespace.applyStorage('orders', volatile);
  await webhook.stopLeading();
  await webhook.down();
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-tls-'));
  t.after(() => rm(directory, { recursive: true }));
  const mounted = await webhook.startServing({ directory });
  t.after(() => mounted.stop());
  const leading = new AbortController();
  const led = mounted.webhook.lead(leading.signal);
  const [, certificate] = mounted.webhook.checks();
  assert.match(certificate?.message ?? '', /The webhook has no certificate to serve with from \/.*: /);
  for (const name of ['db-0', 'db-1']) {
    const { pair, authority } = await issue(['127.0.0.1'], webhook.now, lifetimes);
    await writeFile(join(directory, 'tls.crt'), pair.certificate);
    await writeFile(join(directory, 'tls.key'), pair.key);
    const bundle = Buffer.from(authority).toString('base64');
    await configureWebhook(plane, mounted.webhook.address, bundle);
    await eventually('the pod is accepted', async () => (await apply(namespace.name, podNamed(name))).pod);
    assert.ok(mounted.webhook.checks().every(({ ok }) => ok));
    assert.equal(await caBundle(), bundle);
  }
  leading.abort();
  await led;
});

test('walstorage operator --webhook: ready once it has a certificate for its Service, which the metrics tell the end of', async (t) => {
  const namespace = await namespaceFor(t);
  const { metadata } = emptySecret;
  await plane.apply({ ...emptySecret, metadata: { ...metadata, namespace: namespace.name } });
  // Nobody is trusted, so that the first certificate needs no time to become known.
  await webhook.stopLeading();
  await configureWebhook(plane, '127.0.0.1:1', '');
  const flags = ['--webhook', '127.0.0.1:0', '--image', 'walstorage:test'];
  const operator = startOperator(plane, { namespace: namespace.name, podName: 'operator-0', flags });
  t.after(() => operator.kill());
  const [http = '', address = ''] = await eventually('it says where it listens', () => {
    assert.ok(operator.running, operator.lastLines());
    return /"http":"([^"]+)","webhook":"([^"]+)"/.exec(operator.lastLines())?.slice(1);
  });
  await eventually('it is ready', async () => {
    const response = await fetch(`http://${http}/readyz`);
    const { checks }: { checks: { name: string; ok: boolean }[] } = JSON.parse(await response.text());
    assert.ok(['webhook', 'certificate'].every((name) => checks.some((check) => check.name === name)));
    return response.status === 200 || undefined;
  });
  const shown = await shownCertificate(address);
  assert.ok(shown.checkHost(`walstorage-operator.${namespace.name}.svc`));
  const metrics = await (await fetch(`http://${http}/metrics`)).text();
  const seconds = Number(/^proximadb_wal_operator_webhook_certificate_expiry_seconds (\S+)$/m.exec(metrics)?.[1]);
  const days = seconds / 86_400;
  assert.ok(days > 89 && days <= 90, metrics);
  await operator.end(10_000);
  assert.match(operator.lastLines(1), /operator has ended/);
});
