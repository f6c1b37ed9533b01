/** The chart on a real API server, by helm: what it installs, upgrades and leaves. */
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { release, render, valueFile, valueFiles } from '../charts/rendering.ts';
import { CommandError, run } from './cluster/child.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { example } from './crd-refusals.ts';
import { foreignCrds } from './foreign-crds.ts';
import { chartWithChangedCrd, HelmOn, type Release } from './running-chart.ts';
import { eventually } from './running-operator.ts';

const crdFile = fileURLToPath(new URL('../crds/walstorage.yaml', import.meta.url));
const crdName = 'walstorages.wal.proximadb.io';
/** Another name and namespace than the first one's. */
const second: Release = { name: 'wal', namespace: 'elsewhere' };

let plane: ControlPlane;
let helm: HelmOn;
before(async () => {
  plane = await ControlPlane.start({ withControllers: true });
  helm = new HelmOn(plane);
  await plane.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'orders' } });
});
after(async () => plane?.stop());

/** Removes what a test installs, the CRD too: names are fixed. */
function cleanAfter(t: TestContext): void {
  t.after(async () => {
    await helm.uninstall(release);
    await helm.uninstall(second);
    await plane.kubectl(['delete', 'crd', crdName, '--ignore-not-found']);
  });
}

/** What a command that must fail wrote to standard error. */
async function refusal(command: Promise<string>): Promise<string> {
  const error = await command.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CommandError, 'it was not refused');
  return error.stderr;
}

/** What `kubectl apply` warns of, were these objects applied. Rejects where one is refused. */
async function warningsFor(objects: string, flags: readonly string[] = []): Promise<string> {
  let warnings = '';
  const args = ['--kubeconfig', plane.kubeconfig, 'apply', '--dry-run=server', '-f', '-', ...flags];
  const onStderr = (piece: string): void => {
    warnings += piece;
  };
  await run(plane.kubectlCommand, args, { input: objects, onStderr });
  return warnings;
}

function columns(): Promise<string> {
  const path = 'jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}';
  return plane.kubectl(['get', 'crd', crdName, '-o', path]);
}

/** A WalStorage in `orders`, once its resource is served. */
async function applyExample(): Promise<void> {
  const storage = { ...example, metadata: { name: 'orders', namespace: 'orders' } };
  await eventually('the WalStorage can be applied', () =>
    plane.apply(storage).then(
      () => true,
      () => undefined,
    ),
  );
}

function exampleUid(): Promise<string> {
  return plane.kubectl(['get', 'walstorage', 'orders', '-n', 'orders', '-o', 'jsonpath={.metadata.uid}']);
}

test('under restricted Pod Security the API server takes all that each value file renders, without a warning', async (t) => {
  // The test's pod would be refused, of the Deployment it would be told.
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'pod-security.kubernetes.io/warn': 'restricted',
  };
  const metadata = { name: release.namespace, labels };
  await plane.apply(...foreignCrds, { apiVersion: 'v1', kind: 'Namespace', metadata });
  t.after(() => plane.kubectl(['delete', 'namespace', release.namespace]));
  await eventually('the resources of others are served', async () => {
    const served = await plane.kubectl(['api-resources', '-o', 'name']);
    return (
      ['podmonitors.', 'prometheusrules.', 'issuers.', 'certificates.'].every((name) => served.includes(name)) ||
      undefined
    );
  });
  for (const name of valueFiles) {
    const warnings = await warningsFor(await render(['-f', valueFile(name)]), ['--validate=strict']);
    assert.equal(warnings, '', name);
  }
});

test('helm install says what to type next; a second operator is refused by name', async (t) => {
  cleanAfter(t);
  const said = await helm.install();
  assert.match(said, /STATUS: deployed/);
  assert.match(said, /serves all namespaces/);
  assert.match(said, /kubectl rollout status deployment\/walstorage-operator --namespace walstorage-system/);
  assert.match(said, /kubectl get walstorage/);
  assert.doesNotMatch(said, /CRD was there already/);
  const refused = await refusal(helm.install([], second));
  assert.match(refused, /the release logs in the namespace walstorage-system has installed one/);
});

test('helm install refuses namespaces that are not there, before it makes anything; its own may be new', async (t) => {
  cleanAfter(t);
  const refused = await refusal(helm.install(['--set', 'namespaces={orders,no-such,nor-this}']));
  assert.match(refused, /namespaces: the cluster has no no-such, nor-this; make it \(kubectl create namespace NAME\)/);
  const said = await helm.install(['--set', `namespaces={orders,${second.namespace}}`], second);
  assert.match(said, /STATUS: deployed/);
  assert.match(said, /serves the namespaces orders, elsewhere/);
});

/** What the operator writes into objects of the chart. */
async function writeAsOperator(caBundle: string, certificate: string): Promise<void> {
  const name = 'walstorage-operator';
  const configuration = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name },
    webhooks: [{ name: 'inject.wal.proximadb.io', clientConfig: { caBundle } }],
  };
  const flags = ['apply', '--server-side', `--field-manager=${name}`, '-f', '-'];
  await plane.kubectl(flags, { input: JSON.stringify(configuration) });
  const read = ['get', 'secret', `${name}-webhook`, '-n', release.namespace, '-o', 'json'];
  const secret: object = JSON.parse(await plane.kubectl(read));
  await plane.kubectl(['replace', `--field-manager=${name}`, '-f', '-'], {
    input: JSON.stringify({ ...secret, data: { 'tls.crt': certificate } }),
  });
}

function ofWebhook(path: string): Promise<string> {
  const configuration = ['mutatingwebhookconfiguration', 'walstorage-operator'];
  return plane.kubectl(['get', ...configuration, '-o', `jsonpath={.webhooks[0].${path}}`]);
}

test('an upgrade keeps caBundle and certificate that the operator wrote, server-side and with the merge of helm 3', async (t) => {
  cleanAfter(t);
  await helm.install();
  const [caBundle, certificate] = ['authority', 'certificate'].map((text) => Buffer.from(text).toString('base64'));
  await writeAsOperator(caBundle ?? '', certificate ?? '');
  const secret = ['get', 'secret', 'walstorage-operator-webhook', '-n', release.namespace];
  for (const [seconds, flag] of [
    ['20', '--server-side=true'],
    ['21', '--server-side=false'],
    ['22', '--server-side=true'],
  ] as const) {
    await helm.upgrade([flag, '--set', `webhook.timeoutSeconds=${seconds}`]);
    assert.equal(await ofWebhook('timeoutSeconds'), seconds);
    assert.equal(await ofWebhook('clientConfig.caBundle'), caBundle, flag);
    assert.equal(await plane.kubectl([...secret, '-o', 'jsonpath={.data.tls\\.crt}']), certificate, flag);
  }
});

test('an upgrade changes the CRD', async (t) => {
  cleanAfter(t);
  await helm.install();
  assert.doesNotMatch(await columns(), /Added/);
  await helm.upgrade([], release, await chartWithChangedCrd(t));
  assert.match(await columns(), /Added/);
});

test('helm uninstall leaves the CRD, WalStorages and claims; reinstalled under another name and namespace it goes on with them', async (t) => {
  cleanAfter(t);
  await helm.install();
  await applyExample();
  const uid = await exampleUid();
  const resources = { requests: { storage: '1Gi' } };
  const spec = { accessModes: ['ReadWriteOnce'], resources };
  const metadata = { name: 'db-0-wal1-01234567', namespace: 'orders' };
  await plane.apply({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata, spec });
  assert.match(await helm.uninstall(), /\[CustomResourceDefinition\] walstorages\.wal\.proximadb\.io/);
  assert.equal(await exampleUid(), uid);
  const left = await plane.kubectl([
    'get',
    'all,clusterrole,validatingadmissionpolicy,mutatingwebhookconfiguration',
    '-A',
    '-o',
    'name',
  ]);
  assert.doesNotMatch(left, /walstorage-operator/);

  assert.match(await helm.install([], second), /The CRD was there already/);
  assert.equal(await exampleUid(), uid);
  assert.match(await plane.kubectl(['get', 'pvc', '-n', 'orders', '-o', 'name']), /db-0-wal1-01234567/);
});

/** Types the commands of kubectl that a message holds. */
async function typeCommands(said: string): Promise<void> {
  const commands = [...said.matchAll(/^ {2}kubectl (.*)$/gm)].map(([, words = '']) => words.split(' '));
  assert.equal(commands.length, 2, said);
  for (const words of commands) await plane.kubectl(words);
}

for (const { made, make } of [
  { made: 'by kubectl apply -f crds/', make: () => plane.kubectl(['apply', '-f', crdFile]) },
  {
    made: 'by kubectl apply --server-side -f crds/',
    make: () => plane.kubectl(['apply', '--server-side', '-f', crdFile]),
  },
  {
    made: 'by a release of another name',
    make: async () => {
      await helm.install([], second);
      return helm.uninstall(second);
    },
  },
]) {
  test(`over a CRD made ${made} helm installs; before an upgrade that changes it, two commands hand it over`, async (t) => {
    cleanAfter(t);
    await make();
    await applyExample();
    const uid = await exampleUid();
    assert.match(await helm.install(), /The CRD was there already, is the one of this chart/);
    await helm.upgrade();
    const changed = await chartWithChangedCrd(t);
    const said = await refusal(helm.upgrade([], release, changed));
    assert.match(
      said,
      /The CRD walstorages\.wal\.proximadb\.io is there already, made by .*, and it isn't the one of this chart/,
    );
    await typeCommands(said);
    await helm.upgrade(['--force-conflicts'], release, changed);
    assert.match(await columns(), /Added/);
    assert.equal(await exampleUid(), uid);
    await helm.uninstall();
    assert.equal(await exampleUid(), uid, 'handed over, it is kept as well');
  });
}

test('with crds.install=false helm leaves the CRD alone, whatever it is', async (t) => {
  cleanAfter(t);
  await plane.kubectl(['apply', '-f', crdFile]);
  await helm.install(['--set', 'crds.install=false']);
  await helm.upgrade(['--set', 'crds.install=false'], release, await chartWithChangedCrd(t));
  assert.doesNotMatch(await columns(), /Added/);
});

/** A workload whose own labels, and those of its pod template, are given. */
function workload(kind: string, own: object, template: object): string {
  const labels = { app: 'db', ...template };
  const container = { name: 'db', image: 'db.invalid/db' };
  const batch = kind === 'Job';
  const selector = { matchLabels: { app: 'db' } };
  return JSON.stringify({
    apiVersion: batch ? 'batch/v1' : 'apps/v1',
    kind,
    metadata: { name: 'db', namespace: 'orders', labels: own },
    spec: {
      ...(batch ? {} : { selector }),
      ...(kind === 'StatefulSet' ? { serviceName: 'db' } : {}),
      template: {
        metadata: { labels },
        spec: { containers: [container], ...(batch ? { restartPolicy: 'Never' } : {}) },
      },
    },
  });
}

test('the label on a workload instead of its pod template warns in kubectl apply, with where it goes', async (t) => {
  cleanAfter(t);
  await helm.install();
  const label = { 'wal.proximadb.io/storage': 'orders' };
  const wrong = workload('StatefulSet', label, {});
  const warning = await eventually('the policy is in force', async () => (await warningsFor(wrong)) || undefined);
  assert.match(
    warning,
    /^Warning: .*the label wal\.proximadb\.io\/storage: orders on the StatefulSet itself does nothing, and its pods get no log: move it to the pod template, under spec\.template\.metadata\.labels/,
  );
  for (const kind of ['StatefulSet', 'Deployment', 'DaemonSet', 'Job']) {
    assert.match(await warningsFor(workload(kind, label, {})), new RegExp(`on the ${kind} itself does nothing`));
    assert.equal(await warningsFor(workload(kind, label, label)), '', kind);
    assert.equal(await warningsFor(workload(kind, {}, label)), '', kind);
    assert.equal(await warningsFor(workload(kind, {}, {})), '', kind);
  }
});

test('the API server finds no mistake in the types of the policies', async (t) => {
  cleanAfter(t);
  await helm.install();
  for (const name of ['walstorage-operator', 'walstorage-operator-label']) {
    const status = await eventually(`${name} was checked`, async () => {
      const text = await plane.kubectl(['get', 'validatingadmissionpolicy', name, '-o', 'jsonpath={.status}']);
      return text.includes('observedGeneration') ? text : undefined;
    });
    assert.doesNotMatch(status, /expressionWarnings/);
  }
});
