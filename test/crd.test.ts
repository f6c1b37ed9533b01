/** The WalStorage resource on a real API server: what it refuses and how it says so, what it takes, and how its status merges. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isPair, parse, parseDocument, visit } from 'yaml';
import type { WalStorage, WalStorageStatus } from '../crds/walstorage.generated.ts';
import { resourcesOf } from '../operator/injection/memory.ts';
import { CommandError } from './cluster/child.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { example, refusals, refusedChanges, storage, takenChanges, withUrls } from './crd-refusals.ts';
import { storageOf } from './injection-fixtures.ts';

const file = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

let cluster: ControlPlane;
before(async () => {
  cluster = await ControlPlane.start({ withControllers: false });
  await cluster.installCrd();
});
after(async () => cluster?.stop());

/** What kubectl prints when the API server refuses the object. */
async function refusal(object: object, args: readonly string[] = ['create', '--dry-run=server']): Promise<string> {
  const error = await cluster.kubectl([...args, '-f', '-'], { input: JSON.stringify(object) }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CommandError, 'the API server took the object');
  return error.stderr;
}

for (const { wrong, object, says } of refusals) {
  test(`refused with a sentence that says what to change: ${wrong}`, async () => {
    assert.match(await refusal(object), says);
  });
}

for (const [index, { change, from, to, says }] of refusedChanges.entries()) {
  test(`a change is refused with a sentence that says what to do: ${change}`, async () => {
    const name = `refused-${index}`;
    await cluster.apply(storage(from, name));
    assert.match(await refusal(storage(to, name), ['apply']), says);
  });
}

test('a claimTemplate may grow, be spelt otherwise, or give way to one of another name', async () => {
  for (const [index, { from, to }] of takenChanges.entries()) {
    const name = `taken-${index}`;
    await cluster.apply(storage(from, name));
    await cluster.apply(storage(to, name));
  }
});

const removed = /a URL that holds collections cannot be removed/;
const replaced = /a volume whose URLs hold collections cannot be removed or changed/;

test('every CEL rule of the CRD has a test', () => {
  const messages: string[] = [];
  visit(parseDocument(readFileSync(file('crds/walstorage.yaml'), 'utf8')), {
    Pair: (_index, { key, value }, path) => {
      const list = path.slice(-3).find((node) => isPair(node));
      if (String(key) === 'message' && String(list?.key) === 'x-kubernetes-validations') messages.push(String(value));
    },
  });
  assert.ok(messages.length >= 30, `${messages.length} rules found`);
  const tested = [...refusals, ...refusedChanges].map(({ says }) => says).concat(removed, replaced);
  const untested = messages.filter((message) => !tested.some((says) => says.test(message)));
  assert.deepEqual(untested, []);
});

/** Applies a part of the status as one writer of it does. */
async function applyStatus(manager: string, name: string, status?: WalStorageStatus): Promise<void> {
  const input = JSON.stringify({
    apiVersion: example.apiVersion,
    kind: example.kind,
    metadata: { name },
    ...(status === undefined ? {} : { status }),
  });
  const flags = ['--server-side', '--subresource=status', '--force-conflicts', `--field-manager=${manager}`];
  await cluster.kubectl(['apply', ...flags, '-f', '-'], { input });
}

async function read(name: string): Promise<WalStorage> {
  return JSON.parse(await cluster.kubectl(['get', 'walstorage', name, '-o', 'json', '--show-managed-fields']));
}

test('O7: a URL that holds collections cannot be removed; an empty one can', async () => {
  await cluster.apply(storage(example.spec, 'used'));
  const [first = '', second = ''] = example.spec.wal.urls.map(({ url }) => url);
  await applyStatus('walstorage-operator', 'used', {
    urls: [
      { url: first, collections: 3, bytes: 10, available: 1 },
      { url: second, collections: 0, bytes: 0, available: 1 },
    ],
  });
  assert.match(await refusal(storage(withUrls(second), 'used'), ['apply']), removed);
  await cluster.apply(storage(withUrls(first), 'used'));
  await cluster.apply(storage({ ...withUrls(second), viper: { urls: [{ url: first }] } }, 'used'));
  // The status itself may change freely, also where it tells of a URL that the spec lacks; then the URL may go.
  const gone = { url: 's3://bucket/gone', collections: 1, bytes: 1, available: 1 };
  await applyStatus('walstorage-operator', 'used', { urls: [gone] });
  await applyStatus('walstorage-operator', 'used', { urls: [] });
  await cluster.apply(storage(withUrls(second), 'used'));
});

const at = (name: string, source: object) => ({ name, mountPath: `/mnt/${name}`, ...source });

test('O7: a volume whose URLs hold collections cannot become another; an unused or an ephemeral one can', async () => {
  const claimTemplate = { resources: { requests: { storage: '1Gi' } } };
  const urls = ['claim', 'host', 'shared', 'pod', 'scratch', 'unused'].map((name) => ({
    url: `file:///mnt/${name}/wal`,
  }));
  const volumes = {
    claim: at('claim', { claimTemplate }),
    host: at('host', { hostPath: { path: '/srv' } }),
    shared: at('shared', { persistentVolumeClaim: { claimName: 'one' } }),
    pod: at('pod', { podVolume: { name: 'data' } }),
    scratch: at('scratch', { emptyDir: {} }),
    unused: at('unused', { claimTemplate }),
  };
  const withChanged = (change: Partial<Record<keyof typeof volumes, object>>) =>
    storage({ volumes: Object.values({ ...volumes, ...change }), wal: { urls } }, 'disks');
  await cluster.apply(withChanged({}));
  const used = urls.map(({ url }) => ({ url, collections: url.includes('unused') ? 0 : 1, bytes: 1, available: 1 }));
  await applyStatus('walstorage-operator', 'disks', { urls: used });
  const refused = [
    { claim: { ...volumes.claim, name: 'renamed' } },
    { host: at('host', { hostPath: { path: '/srv2' } }) },
    { host: at('host', { emptyDir: {} }) },
    { shared: at('shared', { persistentVolumeClaim: { claimName: 'two' } }) },
    { pod: at('pod', { podVolume: { name: 'data', subPath: 'wal' } }) },
    { claim: { ...volumes.claim, name: 'whole', mountPath: '/mnt/claim/wal' } },
  ];
  for (const change of refused)
    assert.match(await refusal(withChanged(change), ['apply']), replaced, JSON.stringify(change));
  await cluster.apply(
    withChanged({
      claim: at('claim', { claimTemplate: { resources: { requests: { storage: '2Gi' } } } }),
      host: at('host', { hostPath: { path: '/srv', type: 'Directory' } }),
      scratch: at('scratch', { hostPath: { path: '/scratch' } }),
      unused: { ...volumes.unused, name: 'renamed' },
    }),
  );
});

test('the examples are accepted as they stand', async () => {
  await cluster.kubectl(['apply', '-f', file('examples/walstorage.yaml'), '-f', file('examples/full.yaml')]);
  const full = await read('everything');
  assert.equal(full.spec.wal.urls.length, 6);
});

test('a memory limit that is just enough for globalFlushThreshold and the sidecar is taken', async () => {
  const { memory } = resourcesOf(storageOf(withUrls('s3://bucket/wal'))).limits ?? {};
  assert.equal(memory, '768Mi');
  await cluster.apply(
    storage({ ...withUrls('s3://bucket/wal'), sidecar: { resources: { limits: { memory } } } }, 'enough'),
  );
});

test('the largest WalStorage that the limits allow is within the cost limit of the CEL rules', async () => {
  const urls = Array.from({ length: 32 }, (_, i) => ({ url: `s3://bucket/${i}/`.padEnd(1024, 'x') }));
  const [wal, viper] = [urls.slice(0, 16), urls.slice(16)];
  await cluster.apply(storage({ wal: { urls: wal }, viper: { urls: viper } }, 'large'));
});

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

/** The paths of the schema that none of the values has. */
function notShown(schema: Schema, values: readonly unknown[], path: string): string[] {
  if (values.length === 0) return [path];
  const objects = values.flatMap((value) =>
    typeof value === 'object' && value !== null ? [new Map(Object.entries(value))] : [],
  );
  const inner = Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const found = objects.filter((object) => object.has(key)).map((object) => object.get(key));
    return notShown(property, found, `${path}.${key}`);
  });
  return schema.items === undefined ? inner : [...inner, ...notShown(schema.items, values.flat(), `${path}[]`)];
}

test('examples/full.yaml shows every field of the spec', () => {
  const crd: { spec: { versions: { schema: { openAPIV3Schema: Schema } }[] } } = parse(
    readFileSync(file('crds/walstorage.yaml'), 'utf8'),
  );
  const schema = crd.spec.versions[0]?.schema.openAPIV3Schema.properties?.['spec'] ?? {};
  const full: WalStorage = parse(readFileSync(file('examples/full.yaml'), 'utf8'));
  // Where one component shows credentials and options, the others need not.
  const others = /^spec\.(viper|lsm|index|metadata)\.urls\[\]\./;
  assert.deepEqual(
    notShown(schema, [full.spec], 'spec').filter((path) => !others.test(path)),
    [],
  );
});

test('fields that the user did not set stay unset, but for rollout and ephemeralPods', async () => {
  await cluster.apply(storage(withUrls('s3://bucket/wal'), 'defaults'));
  const { spec } = await read('defaults');
  assert.deepEqual(spec.wal, { urls: [{ url: 's3://bucket/wal' }] });
  assert.deepEqual([spec.rollout, spec.ephemeralPods], ['OnDelete', false]);
});

test('an unknown field is refused by kubectl and pruned for clients that ask for no validation', async () => {
  const object = storage({ ...example.spec, unknown: 1 }, 'unknown');
  assert.match(await refusal(object), /unknown field "spec\.unknown"/);
  await cluster.kubectl(['create', '--validate=false', '-f', '-'], { input: JSON.stringify(object) });
  assert.deepEqual(Object.keys((await read('unknown')).spec).toSorted(), [
    'ephemeralPods',
    'rollout',
    'volumes',
    'wal',
  ]);
});

test('status: entries of two pods and the totals of the operator coexist; an equal apply moves nothing', async () => {
  await cluster.apply(storage(example.spec, 'merged'));
  await applyStatus('pod-a', 'merged', { pods: [{ name: 'db-0', ready: true, bytes: 5 }] });
  await applyStatus('pod-b', 'merged', { pods: [{ name: 'db-1', ready: true, bytes: 5 }] });
  await applyStatus('walstorage-operator', 'merged', { podCount: 2, collections: 2 });
  const first = await read('merged');
  assert.deepEqual(
    first.status?.pods?.map(({ name }) => name),
    ['db-0', 'db-1'],
  );
  assert.equal(first.status?.podCount, 2);
  await applyStatus('pod-a', 'merged', { pods: [{ name: 'db-0', ready: true, bytes: 5 }] });
  assert.equal((await read('merged')).metadata.resourceVersion, first.metadata.resourceVersion);
});

test('status: an apply without a status prunes what that manager owned, and no more', async () => {
  await cluster.apply(storage(example.spec, 'pruned'));
  await applyStatus('pod-a', 'pruned', { pods: [{ name: 'db-0' }] });
  await applyStatus('pod-b', 'pruned', { pods: [{ name: 'db-1' }] });
  await applyStatus('pod-a', 'pruned');
  const left = await read('pruned');
  assert.deepEqual(left.status?.pods, [{ name: 'db-1' }]);
  assert.ok(!left.metadata.managedFields?.some(({ manager }) => manager === 'pod-a'));
});

test('status: assignments are atomic, so that their managed fields do not grow with their number', async () => {
  await cluster.apply(storage(example.spec, 'atomic'));
  const url = example.spec.wal.urls[0]?.url ?? '';
  const assignments = Array.from({ length: 200 }, (_, i) => ({ component: 'wal', collection: `c${i}`, url }) as const);
  await applyStatus('pod-a', 'atomic', { pods: [{ name: 'db-0', assignments }] });
  const { metadata, status } = await read('atomic');
  assert.equal(status?.pods?.[0]?.assignments?.length, 200);
  const managed = metadata.managedFields?.find(({ manager }) => manager === 'pod-a');
  assert.ok(JSON.stringify(managed).length < 500, JSON.stringify(managed));
});

test('kubectl get walstorage and its short name show the columns', async () => {
  const lastTransitionTime = '2026-11-22T10:00:00Z';
  await cluster.apply(storage(example.spec, 'columns'));
  await applyStatus('walstorage-operator', 'columns', {
    distributionStrategy: 'LoadBalanced',
    urlCount: 2,
    podCount: 3,
    readyPods: 3,
    collections: 33,
    bytes: 3178106,
    size: '3.03 MiB',
    conditions: [{ type: 'Degraded', status: 'True', reason: 'UrlsNotAvailable', message: '', lastTransitionTime }],
  });
  const [head = '', row = ''] = (await cluster.kubectl(['get', 'wals', 'columns'])).split('\n');
  assert.deepEqual(head.trim().split(/ {2,}/), [
    'NAME',
    'STRATEGY',
    'URLS',
    'PODS',
    'READY',
    'COLLECTIONS',
    'SIZE',
    'AGE',
  ]);
  assert.deepEqual(row.split(/ {2,}/).slice(0, 7), ['columns', 'LoadBalanced', '2', '3', '3', '33', '3.03 MiB']);
  const [wideHead = '', wideRow = ''] = (await cluster.kubectl(['get', 'wals', 'columns', '-o', 'wide'])).split('\n');
  assert.deepEqual(
    [wideHead, wideRow].map((line) => line.trim().split(/ {2,}/).at(-1)),
    ['DEGRADED', 'True'],
  );
});
