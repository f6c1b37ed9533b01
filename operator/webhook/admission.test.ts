import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WalStorageSpec } from '../../crds/walstorage.generated.ts';
import { restartHash } from '../../sidecar/config/changes.ts';
import { inject } from '../injection/inject.ts';
import { storageLabel, type WalStorage } from '../kubernetes.ts';
import type { Place } from '../shared-places.ts';
import { admit, type Lookup } from './admission.ts';
import { type PatchOperation, patchOf } from './patch.ts';
import { asAdmissionRequest, ReviewError, reviewOf, type Verdict } from './review.ts';

const settings = { image: 'walstorage:test', operatorVersion: '1.2.3' };
const spec: WalStorageSpec = {
  volumes: [
    { name: 'wal', mountPath: '/mnt/wal', claimTemplate: { resources: { requests: { storage: '1Gi' } } } },
    { name: 'node', mountPath: '/mnt/node', hostPath: { path: '/srv' } },
  ],
  wal: { urls: [{ url: 'file:///mnt/wal/wal' }] },
};

function storageOf(changes: Partial<WalStorageSpec> = {}): WalStorage {
  const metadata = { name: 'orders', namespace: 'shop', uid: 'u', resourceVersion: '1' };
  return { metadata, spec: { ...spec, ...changes } };
}

const pod = {
  metadata: { name: 'db-0', labels: { [storageLabel]: 'orders' } },
  spec: { securityContext: { fsGroup: 1000, runAsUser: 1000 }, containers: [{ name: 'db', image: 'db' }] },
};

function review(request: object = {}): object {
  const kind = { group: '', version: 'v1', kind: 'Pod' };
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: { uid: 'uid-1', kind, namespace: 'shop', operation: 'CREATE', object: pod, dryRun: false, ...request },
  };
}

interface Known {
  readonly storage?: WalStorage | Error;
  readonly names?: readonly string[];
  readonly holder?: string;
}

async function verdictOn(body: object, { storage, names = [], holder }: Known): Promise<Verdict> {
  const asked: Place[] = [];
  const lookup: Lookup = {
    isWatched: (namespace) => namespace !== 'elsewhere',
    names: () => names,
    storage: async (_namespace, name) => {
      assert.match(name, /^[-a-z0-9]{1,40}$/, 'what can be no name is not asked for');
      if (storage instanceof Error) throw storage;
      return storage;
    },
    holderOf: (place) => {
      asked.push(place);
      return holder;
    },
  };
  return await admit(asAdmissionRequest(body), lookup, settings);
}

/** What a patch of whole fields of metadata and spec makes of a pod. */
function patched(patch: readonly PatchOperation[]): unknown {
  const sections: Record<string, Record<string, unknown>> = { metadata: { ...pod.metadata }, spec: { ...pod.spec } };
  for (const operation of patch) {
    const [, section = '', field = ''] = operation.path.split('/');
    const fields = sections[section] ?? assert.fail(operation.path);
    assert.equal(Object.hasOwn(fields, field), operation.op !== 'add');
    if (operation.op === 'remove') delete fields[field];
    else fields[field] = operation.value;
  }
  return sections;
}

test('O3 a labelled pod gets what inject makes of it, as a patch', async () => {
  const storage = storageOf();
  const verdict = await verdictOn(review(), { storage });
  const expected = inject(pod, storage, { image: settings.image, restartHash: restartHash(storage.spec) });
  assert.ok('patch' in verdict && 'pod' in expected);
  assert.deepEqual(patched(verdict.patch), expected.pod);
  const paths = verdict.patch.map(({ op, path }) => `${op} ${path}`);
  assert.deepEqual(paths.toSorted(), [
    'add /metadata/annotations',
    'add /spec/initContainers',
    'add /spec/terminationGracePeriodSeconds',
    'add /spec/volumes',
    'replace /spec/containers',
  ]);
});

test('O3 asked again about what it made, it patches nothing', async () => {
  const storage = storageOf();
  const made = inject(pod, storage, { image: settings.image, restartHash: restartHash(storage.spec) });
  assert.ok('pod' in made);
  const verdict = await verdictOn(review({ object: made.pod }), { storage });
  assert.deepEqual(verdict, { patch: [], warnings: [] });
});

const untouched: readonly (readonly [string, object])[] = [
  ['a pod without the label', { object: { ...pod, metadata: { name: 'db-0' } } }],
  ['another operation', { operation: 'UPDATE' }],
  ['another kind', { kind: { group: 'apps', version: 'v1', kind: 'StatefulSet' } }],
  ['a subresource', { subResource: 'eviction' }],
];
for (const [what, request] of untouched) {
  test(`what is nothing for us is let through unchanged: ${what}`, async () => {
    assert.deepEqual(await verdictOn(review(request), {}), { patch: [], warnings: [] });
  });
}

const many = ['f', 'e', 'd', 'c', 'b', 'a', 'g'];
const labelled = (name: string): object => ({ ...pod, metadata: { name: 'db-0', labels: { [storageLabel]: name } } });
const onNode = { wal: { urls: [{ url: 'file:///mnt/node/${POD_NAME}' }] } };

const refusals: readonly (readonly [what: string, request: object, known: Known, message: RegExp])[] = [
  [
    'no such WalStorage, and none there',
    {},
    {},
    /^no WalStorage orders in namespace shop: create it, or correct the label wal\.proximadb\.io\/storage of the pod template\.$/,
  ],
  [
    'no such WalStorage, the others are named',
    {},
    { names: ['order', 'invoices'] },
    /template\. There: invoices, order\.$/,
  ],
  ['no such WalStorage, five of many are named', {}, { names: many }, /There: a, b, c, d, e, and 2 more\.$/],
  [
    'an empty label',
    { object: labelled('') },
    {},
    /^the label wal\.proximadb\.io\/storage names no WalStorage in namespace shop/,
  ],
  ['a label that can be no name', { object: labelled('..') }, {}, /^no WalStorage \.\. in namespace shop/],
  [
    'a pod that would become a hundred times as large (R5)',
    { object: { ...pod, spec: { ...pod.spec, containers: Array.from({ length: 65 }, () => ({ name: 'db' })) } } },
    { storage: storageOf() },
    /^The pod has 65 containers, and the sidecar comes into pods with at most 64: use fewer/,
  ],
  ['a namespace that is not watched', { namespace: 'elsewhere' }, {}, /does not look after namespace elsewhere/],
  [
    'a spec that cannot be rendered',
    {},
    { storage: storageOf({ wal: { urls: [{ url: 'file:///mnt/wal/%41' }] } }) },
    /^the spec of WalStorage orders cannot be used: correct it first\. .*file:\/\/\/mnt\/wal\/%41/s,
  ],
  [
    'what inject refuses',
    { object: { ...pod, spec: { containers: pod.spec.containers } } },
    { storage: storageOf() },
    /fsGroup/,
  ],
  [
    'a place where another pod writes',
    {},
    { storage: storageOf(onNode), holder: 'other/db-0' },
    /^file:\/\/\/mnt\/node\/db-0 \(wal of WalStorage orders\) is where pod db-0 of namespace other writes already/,
  ],
];
for (const [what, request, known, message] of refusals) {
  test(`refused with what to do: ${what}`, async () => {
    const verdict = await verdictOn(review(request), known);
    assert.ok('refusal' in verdict);
    assert.match(verdict.refusal, message);
    assert.equal(verdict.code, 403);
    const { response } = Object(reviewOf('uid-1', verdict));
    assert.deepEqual([response.uid, response.allowed, response.status.code], ['uid-1', false, 403]);
    assert.equal(response.status.message, verdict.refusal);
  });
}

test('R5 a refusal has at most 8 KiB, however much is wrong with the pod', async () => {
  const volumeMounts = Array.from({ length: 512 }, (_, i) => ({ name: 'data', mountPath: `/run/walstorage/${i}` }));
  const object = { ...pod, spec: { ...pod.spec, containers: [{ name: 'db', volumeMounts }] } };
  const verdict = await verdictOn(review({ object }), { storage: storageOf() });
  assert.ok('refusal' in verdict);
  assert.equal(Buffer.byteLength(verdict.refusal), 8 * 1024);
});

test('a WalStorage that could not be looked up: 503, with why', async () => {
  const verdict = await verdictOn(review(), { storage: new Error('connection refused') });
  assert.deepEqual(verdict, {
    refusal: 'WalStorage orders in namespace shop could not be looked up (connection refused); it is tried again.',
    code: 503,
  });
});

test('a pod without a name has no place that another could have', async () => {
  const unnamed = { ...pod, metadata: { generateName: 'db-', labels: pod.metadata.labels } };
  const volumes = spec.volumes?.slice(1) ?? [];
  const storage = storageOf({ ...onNode, volumes, ephemeralPods: true });
  const verdict = await verdictOn(review({ object: unnamed }), { storage, holder: 'other/db-0' });
  assert.ok('patch' in verdict, JSON.stringify(verdict));
});

test('an answer carries its patch in base64, and neither patch nor warnings where there are none', () => {
  const patch = patchOf({ metadata: {}, spec: { 'a/b~c': 1, gone: 1 } }, { metadata: {}, spec: { 'a/b~c': 2 } });
  assert.deepEqual(patch, [
    { op: 'replace', path: '/spec/a~1b~0c', value: 2 },
    { op: 'remove', path: '/spec/gone' },
  ]);
  const { response } = Object(reviewOf('u', { patch, warnings: ['mind the gap'] }));
  assert.deepEqual(JSON.parse(Buffer.from(String(response.patch), 'base64').toString()), patch);
  assert.deepEqual([response.patchType, response.warnings], ['JSONPatch', ['mind the gap']]);
  const bare = reviewOf('u', { patch: [], warnings: [] });
  assert.deepEqual(Object(bare).response, { uid: 'u', allowed: true });
});

const bodies: readonly (readonly [string, unknown])[] = [
  ['nothing', undefined],
  ['a list', []],
  ['text', 'x'],
  ['another version', { ...review(), apiVersion: 'admission.k8s.io/v1beta1' }],
  ['no request', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' }],
  ['no uid', review({ uid: '' })],
  ['no object', review({ object: null })],
  ['a pod without containers', review({ object: { metadata: {}, spec: {} } })],
  ['a namespace that is no text', review({ namespace: 1 })],
  ['a namespace that leads elsewhere', review({ namespace: '..' })],
];
for (const [what, body] of bodies) {
  test(`a body that is no review that can be answered: ${what}`, () => {
    assert.throws(() => asAdmissionRequest(body), ReviewError);
  });
}
