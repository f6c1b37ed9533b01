/** The chart without a cluster: what helm renders, refuses and says, and that what is made from other files is up to date. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { portName } from '../operator/injection/names.ts';
import packageJson from '../package.json' with { type: 'json' };
import { CommandError } from '../test/cluster/child.ts';
import { helm } from '../test/cluster/helm.ts';
import { type ValueSchema, valuesOf } from './generate.ts';
import { chart, objectsOf, type Rendered, release, render, valueFile, valueFiles } from './rendering.ts';

const read = (path: string) => readFileSync(join(chart, path), 'utf8');
const schema: ValueSchema = JSON.parse(read('values.schema.json'));

/** By value file: what helm printed, and the objects in it. */
const rendered = new Map<string, { readonly text: string; readonly objects: readonly Rendered[] }>();
before(async () => {
  for (const name of valueFiles) {
    const text = await render(['-f', valueFile(name)]);
    rendered.set(name, { text, objects: objectsOf(text) });
  }
});

function objectsFor(name: string): readonly Rendered[] {
  return rendered.get(name)?.objects ?? [];
}

/** What helm says when it refuses. */
async function refusal(flags: readonly string[]): Promise<string> {
  const error = await render(flags).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CommandError, `helm took ${flags.join(' ')}`);
  return error.stderr;
}

test('helm lint finds nothing, with no values and with each value file', async () => {
  await helm(['lint', '--strict', chart]);
  for (const name of valueFiles) await helm(['lint', '--strict', chart, '-f', valueFile(name)]);
});

/** The CRD stands in its own file already; its template is compared with it below. */
function withoutCrd(text: string): string {
  return text
    .split(/^---\n/m)
    .filter((part) => !part.includes('kind: CustomResourceDefinition'))
    .join('---\n');
}

for (const name of valueFiles) {
  test(`ci/${name}-values.yaml renders what charts/test/${name}.yaml holds`, (t) => {
    // After a wanted change: node --test --test-update-snapshots charts/chart.test.ts
    const file = fileURLToPath(new URL(`test/${name}.yaml`, import.meta.url));
    t.assert.fileSnapshot(withoutCrd(rendered.get(name)?.text ?? ''), file, { serializers: [String] });
  });
}

test('without image.repository helm fails with the commands to type', async () => {
  const said = await refusal([]);
  assert.match(said, /image\.repository is not set/);
  assert.match(said, /buildah build -t registry\.example\.com\/walstorage:0\.1\.0 \./);
  assert.match(said, /buildah push registry\.example\.com\/walstorage:0\.1\.0/);
  assert.match(
    said,
    /helm upgrade --install logs charts\/walstorage --namespace walstorage-system .*--set image\.repository=/,
  );
});

/** All objects of a schema that hold named values, with their places. */
function groups(node: unknown, place: string): [string, Record<string, unknown>][] {
  if (typeof node !== 'object' || node === null) return [];
  const inner = Object.entries(node).flatMap(([key, value]) => groups(value, `${place}/${key}`));
  return 'properties' in node && !place.endsWith('/properties') ? [[place, { ...node }], ...inner] : inner;
}

test('the schema is closed at every level, and helm refuses an unknown value by name', async () => {
  const found = groups(schema, '');
  assert.ok(found.length > 15);
  for (const [place, node] of found) assert.equal(node['additionalProperties'], false, place);
  const repository = ['--set', 'image.repository=r/w'];
  for (const name of ['replica', 'image.repo', 'networkPolicy.enable', 'certManager.issuerRef.nam']) {
    const key = name.split('.').at(-1) ?? '';
    assert.match(await refusal([...repository, '--set', `${name}=1`]), new RegExp(`'${key}' not allowed`), name);
  }
});

for (const [wrong, says] of [
  ['image.repository=Registry/W', /image\/repository/],
  ['image.digest=latest', /image\/digest/],
  ['replicas=0', /replicas/],
  ['logLevel=loud', /logLevel/],
  ['namespaces={Orders}', /namespaces/],
  ['podMonitor.interval=often', /podMonitor\/interval/],
] as const) {
  test(`a wrong value is refused by name: ${wrong}`, async () => {
    assert.match(await refusal(['--set', 'image.repository=r/w', '--set', wrong]), says);
  });
}

test('a parent chart may hand its global values down', async () => {
  await render(['--set', 'image.repository=r/w', '--set', 'global.anything=1']);
});

test('the versions of chart and package are one', () => {
  const { version, appVersion, kubeVersion } = parse(read('Chart.yaml'));
  assert.deepEqual([version, appVersion], [packageJson.version, packageJson.version]);
  assert.equal(kubeVersion, '>=1.33.0-0');
});

test('every value has a description and a default, and values.yaml holds just them', () => {
  const values = valuesOf(schema);
  for (const [name, value] of values) assert.ok(value.description, name);
  const defaults = parse(read('values.yaml'));
  const at = (name: string): unknown =>
    name.split('.').reduce((node, key) => new Map(Object.entries(node)).get(key), defaults);
  for (const [name, value] of values) assert.deepEqual(at(name), value.default, name);
});

test('npm run check finds a generated file that has drifted, with the command to type', (t) => {
  assert.match(packageJson.scripts.check, /node charts\/generate\.ts --check/);
  const generate = fileURLToPath(new URL('generate.ts', import.meta.url));
  const check = (root: string) => spawnSync(process.execPath, [generate, '--check', root], { encoding: 'utf8' });
  const checkout = fileURLToPath(new URL('..', import.meta.url));
  assert.equal(check(checkout).stderr, '');
  const root = mkdtempSync(join(tmpdir(), 'walstorage-chart-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const directory of ['charts', 'crds']) {
    cpSync(join(checkout, directory), join(root, directory), { recursive: true });
  }
  writeFileSync(join(root, 'charts/walstorage/values.yaml'), 'replicas: 3\n');
  const { status, stderr } = check(root);
  assert.equal(status, 1);
  assert.match(stderr, /^charts\/walstorage\/values\.yaml is not .*run `npm run generate` and commit the result\n$/);
});

test('the CRD is that of crds/walstorage.yaml, and helm keeps it', () => {
  const found = objectsFor('minimal').find(({ kind }) => kind === 'CustomResourceDefinition');
  assert.equal(found?.metadata.annotations?.['helm.sh/resource-policy'], 'keep');
  const source = parse(readFileSync(new URL('../crds/walstorage.yaml', import.meta.url), 'utf8'));
  assert.deepEqual(found?.['spec'], source.spec);
  assert.ok(!objectsFor('self-signed').some(({ kind }) => kind === 'CustomResourceDefinition'));
});

interface Rule {
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** The rules of roles, each with the kind and namespace of its role. */
function rules(objects: readonly Rendered[]): { kind: string; namespace: string | undefined; rule: Rule }[] {
  return objects.flatMap(({ kind, metadata, rules: held }) => {
    if (kind !== 'ClusterRole' && kind !== 'Role') return [];
    const list: readonly Rule[] = Array.isArray(held) ? held : [];
    return list.map((rule) => ({ kind, namespace: metadata.namespace, rule }));
  });
}

const tooMuch = new Set(['*', 'delete', 'deletecollection', 'escalate', 'bind', 'impersonate']);

test('O1 R8 no right to delete, no wildcard; of Secrets only the one of its certificates', () => {
  for (const name of valueFiles) {
    for (const { kind, namespace, rule } of rules(objectsFor(name))) {
      const text = `${name}: ${JSON.stringify(rule)}`;
      assert.ok(!rule.verbs.some((verb) => tooMuch.has(verb)), text);
      assert.ok(!rule.resources.includes('*'), text);
      if (!rule.resources.includes('secrets')) continue;
      assert.deepEqual([kind, namespace], ['Role', release.namespace], text);
      assert.deepEqual([rule.resourceNames, rule.verbs], [['walstorage-operator-webhook'], ['get', 'update']], text);
    }
  }
});

test('with listed namespaces the only right over the cluster is to its own webhook configuration, and that is limited to them', () => {
  const objects = objectsFor('namespaces');
  const overCluster = rules(objects).filter(({ kind }) => kind === 'ClusterRole');
  assert.deepEqual(
    overCluster.map(({ rule }) => [rule.resources, rule.resourceNames]),
    [[['mutatingwebhookconfigurations'], ['walstorage-operator']]],
  );
  const served = rules(objects).filter(({ rule }) => rule.resources.includes('pods'));
  assert.deepEqual(
    served.map(({ namespace }) => namespace),
    ['orders', 'walstorage-system'],
  );
  const text = rendered.get('namespaces')?.text ?? '';
  assert.match(text, /namespaceSelector:\s+matchExpressions:\s+.*values: \["orders","walstorage-system"\]/);
  assert.match(text, /--namespace=orders\n\s+- --namespace=walstorage-system\n/);
});

test('the PodMonitor of sidecars names the port that they have', () => {
  assert.match(rendered.get('monitoring')?.text ?? '', new RegExp(`\\{port: ${portName}, path: /metrics`));
});

test('with cert-manager there is no right to Secrets and the webhook configuration: it makes the certificate, which is mounted', () => {
  for (const name of ['cert-manager', 'self-signed']) {
    const unneeded = new Set(['secrets', 'mutatingwebhookconfigurations']);
    assert.ok(!rules(objectsFor(name)).some(({ rule }) => rule.resources.some((resource) => unneeded.has(resource))));
    const text = rendered.get(name)?.text ?? '';
    assert.match(text, /cert-manager\.io\/inject-ca-from: walstorage-system\/walstorage-operator/);
    assert.match(text, /--tls-dir=\/run\/walstorage-operator\/tls/);
  }
});
