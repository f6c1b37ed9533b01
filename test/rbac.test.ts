/**
 * The operator with the rights that the chart gives it, and no others, through everything that it does: nothing is refused
 * to it, and each right is used, as the API server's audit log has it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, type TestContext, test } from 'node:test';
import { chart, release } from '../charts/rendering.ts';
import type { WalStorageSpec } from '../crds/walstorage.generated.ts';
import { claimName } from '../operator/claim-name.ts';
import { claims, type PersistentVolumeClaim, type Pod, pods } from '../operator/kubernetes.ts';
import { restartHash } from '../sidecar/config/changes.ts';
import { ChartOperator } from './chart-operator.ts';
import type { AuditEvent } from './cluster/audit.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { condition, namespaceFor } from './operator-scene.ts';
import { provideVolumes } from './provided-volumes.ts';
import { HelmOn } from './running-chart.ts';
import { eventually, Namespace, podSpec } from './running-operator.ts';
import { RunningSidecar, Workplace } from './running-sidecar.ts';

const operatorName = 'walstorage-operator';
const operatorUser = `system:serviceaccount:${release.namespace}:${operatorName}`;

/** Rights that no run uses, each with its reason. At most 5. */
const unused: Readonly<Record<string, string>> = {
  'update wal.proximadb.io/walstorages/status':
    'held, not used: who holds it is exempt from the policy that lets a pod write its own entry only',
};

let plane: ControlPlane;
let helm: HelmOn;
before(async () => {
  plane = await ControlPlane.start({ withControllers: true, audit: true });
  helm = new HelmOn(plane);
});
after(async () => plane?.stop());

/** Installs the chart, and runs the operator as it says until the test ends. */
async function installed(t: TestContext, flags: readonly string[]): Promise<ChartOperator> {
  t.after(async () => {
    await helm.uninstall();
    // Left by helm, as the operator made it: the next one is to make its own.
    await plane.kubectl(['delete', 'lease', operatorName, '-n', release.namespace, '--ignore-not-found']);
  });
  await helm.install(flags);
  // The API server reaches no Service here, as there is no node: pods are made as the webhook leaves them.
  const nowhere = [{ op: 'add', path: '/webhooks/0/namespaceSelector', value: { matchLabels: { none: 'none' } } }];
  const target = ['mutatingwebhookconfiguration', operatorName];
  await plane.kubectl(['patch', ...target, '--type=json', '-p', JSON.stringify(nowhere)]);
  const operator = await ChartOperator.start(plane, release);
  t.after(() => operator.stop());
  return operator;
}

const storageClass = 'growing';
const controllers = ['StatefulSet', 'ReplicaSet'] as const;
type Controller = (typeof controllers)[number];

function storageName(controller: Controller): string {
  return controller.toLowerCase();
}

/** A spec with one claim a pod. */
function specOf(size: string, logLevel: 'info' | 'debug' = 'info'): WalStorageSpec {
  const resources = { requests: { storage: size } };
  return {
    volumes: [{ name: 'a', mountPath: '/mnt/a', claimTemplate: { storageClassName: storageClass, resources } }],
    wal: { urls: [{ url: 'file:///mnt/a/wal' }] },
    rollout: 'Restart',
    sidecar: { logLevel },
  };
}

/** A controller of one pod, whose template bears what the webhook adds to a pod with this spec. */
async function applyController(namespace: Namespace, kind: Controller, spec: WalStorageSpec): Promise<void> {
  const name = storageName(kind);
  const labels = { app: name, 'wal.proximadb.io/storage': name };
  const annotations = { 'wal.proximadb.io/injected': restartHash(spec) };
  const own = { a: claimName(name, 'a', `${name}-0`) };
  const statefulSet = { serviceName: name, updateStrategy: { type: 'OnDelete' } };
  await plane.apply({
    apiVersion: 'apps/v1',
    kind,
    metadata: { name, namespace: namespace.name },
    spec: {
      ...(kind === 'StatefulSet' ? statefulSet : {}),
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels, annotations }, spec: podSpec({ claims: own }) },
    },
  });
}

/** The one pod of the controller other than those that were there before; it becomes Ready and reports a configuration. */
async function serve(namespace: Namespace, kind: Controller, configHash: string, outdated?: Pod): Promise<Pod> {
  const name = storageName(kind);
  const pod = await eventually(`${kind} has a new pod`, async () => {
    const all = await namespace.list<Pod>(pods);
    return all.find(({ metadata }) => metadata.labels?.['app'] === name && metadata.uid !== outdated?.metadata.uid);
  });
  await namespace.setReady(pod);
  await namespace.report(name, pod, { ready: true, configHash, urls: [] });
  return pod;
}

/** O2: a claim is made, and grows. */
async function growClaim(namespace: Namespace): Promise<void> {
  const name = storageName('StatefulSet');
  const claim = claimName(name, 'a', `${name}-0`);
  await provideVolumes(plane, namespace, {
    className: storageClass,
    allowVolumeExpansion: true,
    claimNames: [claim],
  });
  await namespace.applyStorage(name, specOf('1Gi'));
  await applyController(namespace, 'StatefulSet', specOf('1Gi'));
  const found = () => namespace.find<PersistentVolumeClaim>(claims, claim);
  await eventually('the claim is bound', async () => (await found())?.status?.phase === 'Bound' || undefined);
  await namespace.applyStorage(name, specOf('2Gi'));
  await eventually('the claim grows', async () => {
    return (await found())?.spec.resources?.requests?.storage === '2Gi' || undefined;
  });
}

/** O6: a kubelet is nudged, an outdated pod is evicted, and what it reported is removed. */
async function replacePod(namespace: Namespace, kind: Controller): Promise<void> {
  const name = storageName(kind);
  await namespace.applyStorage(name, specOf('2Gi'));
  const rendered = await namespace.status(name, 'rendered', ({ status }) => (status?.configHash ?? '') !== '');
  await applyController(namespace, kind, specOf('2Gi'));
  const pod = await serve(namespace, kind, 'an older one');
  await eventually('the kubelet is nudged', async () => {
    const nudged = await namespace.find<Pod>(pods, pod.metadata.name);
    return nudged?.metadata.annotations?.['wal.proximadb.io/config-hash'];
  });
  await namespace.report(name, pod, { ready: true, configHash: rendered.status?.configHash ?? '', urls: [] });
  await applyController(namespace, kind, specOf('2Gi', 'debug'));
  const { metadata } = await namespace.applyStorage(name, specOf('2Gi', 'debug'));
  const renewed = await namespace.status(name, 'rendered again', ({ status }) => {
    return status?.observedGeneration === metadata.generation;
  });
  await serve(namespace, kind, renewed.status?.configHash ?? '', pod);
  await namespace.status(name, 'only the new pod is reported', ({ status }) => {
    return status?.pods?.every(({ uid }) => uid !== pod.metadata.uid) === true && status.pods.length === 1;
  });
}

/** O1: whatever has a name of ours is read, and left alone. */
async function takeNames(namespace: Namespace): Promise<void> {
  const metadata = { name: 'taken-walstorage', namespace: namespace.name };
  const rbac = 'rbac.authorization.k8s.io';
  const claim = claimName('taken', 'a', 'taken-0');
  const roleRef = { apiGroup: rbac, kind: 'Role', name: 'nobody' };
  await plane.apply(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata },
    { apiVersion: `${rbac}/v1`, kind: 'Role', metadata, rules: [] },
    { apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata, roleRef },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: claim, namespace: namespace.name },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  );
  await namespace.applyStorage('taken', specOf('1Gi'));
  await namespace.createPod('taken-0', 'taken', { claims: { a: claim } });
  for (const type of ['Ready', 'Degraded']) {
    await namespace.status('taken', `${type} for NameTaken`, (storage) => {
      return condition(storage, type)?.reason === 'NameTaken';
    });
  }
}

interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** Every right that the operator's roles give, as `verb group/resource`. */
async function grantedRights(): Promise<Set<string>> {
  const selector = ['-l', 'app.kubernetes.io/name=walstorage-operator'];
  const found = await plane.kubectl(['get', 'clusterroles,roles', '-A', ...selector, '-o', 'json']);
  const { items }: { items: { rules: PolicyRule[] }[] } = JSON.parse(found);
  const rights = items.flatMap(({ rules }) =>
    rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)),
      ),
    ),
  );
  return new Set(rights);
}

/** The rights that a request needed. An apply that creates needs two. */
function neededRights({ verb, objectRef, responseStatus }: AuditEvent): string[] {
  if (objectRef === undefined) return [];
  const { apiGroup = '', resource, subresource } = objectRef;
  const what = `${apiGroup}/${resource}${subresource === undefined ? '' : `/${subresource}`}`;
  const isCreated = verb === 'patch' && responseStatus?.code === 201;
  return [`${verb} ${what}`, ...(isCreated ? [`create ${what}`] : [])];
}

for (const { variant, name, flags } of [
  { variant: 'all namespaces', name: 'all', flags: [] },
  { variant: 'listed namespaces', name: 'listed', flags: ['--set', 'namespaces={listed}'] },
]) {
  test(`with the chart's rights over ${variant} nothing is refused to the operator, and it uses each of them`, async (t) => {
    const namespace = await namespaceFor(t, plane, name);
    const seenBefore = (await plane.auditEvents()).length;
    const operator = await installed(t, flags);
    await growClaim(namespace);
    for (const kind of controllers) await replacePod(namespace, kind);
    await takeNames(namespace);
    const labels = { 'wal.proximadb.io/storage': 'absent' };
    const pod = { metadata: { name: 'db-0', labels }, spec: { containers: [{ name: 'db', image: 'db' }] } };
    assert.match(await operator.review(name, pod), /absent/);

    const events = (await plane.auditEvents()).slice(seenBefore).filter(({ user }) => user.username === operatorUser);
    const refused = events.filter(({ responseStatus }) => responseStatus?.code === 403);
    assert.deepEqual(refused.map(neededRights), []);
    const used = new Set(events.flatMap(neededRights));
    const granted = await grantedRights();
    assert.deepEqual([...granted].filter((right) => !used.has(right)).toSorted(), Object.keys(unused).toSorted());
    assert.ok(Object.keys(unused).length <= 5);
  });
}

test('a namespace that is not listed is left alone', async (t) => {
  const [served, other] = [await namespaceFor(t, plane, 'served'), await namespaceFor(t, plane, 'other')];
  await installed(t, ['--set', 'namespaces={served}']);
  await other.applyStorage('orders', specOf('1Gi'));
  await served.applyStorage('orders', specOf('1Gi'));
  await served.status('orders', 'rendered', ({ status }) => status?.configHash !== undefined);
  assert.equal((await other.storage('orders')).status, undefined);
});

/** The metrics whose names a text of ours holds: those of PromQL, without what a histogram adds. */
function metricsIn(file: string): Set<string> {
  const found = readFileSync(`${chart}/monitoring/${file}`, 'utf8').matchAll(/\bproximadb_wal_[a-z_]+/g);
  return new Set([...found].map(([name]) => name.replace(/_(bucket|count)$/, '')));
}

test('alerts and dashboard ask for metrics that operator and sidecar have', async (t) => {
  const operator = await installed(t, []);
  const workplace = await Workplace.make();
  const sidecar = await RunningSidecar.start({ workplace, configuration: workplace.configuration(['wal']) });
  t.after(async () => {
    await sidecar.kill();
    await workplace.end();
  });
  const ofSidecar = await fetch(`http://${String(sidecar.logged('serving')?.['http'])}/metrics`);
  const metrics = (await operator.metrics()) + (await ofSidecar.text());
  const known = new Set([...metrics.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  for (const file of ['rules.yaml', 'dashboard.json']) {
    const asked = metricsIn(file);
    assert.ok(asked.size > 5, file);
    assert.deepEqual(
      [...asked].filter((name) => !known.has(name)),
      [],
      file,
    );
  }
});
