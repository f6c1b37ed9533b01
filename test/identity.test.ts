/**
 * What the token of a sidecar can do, with the Role that the operator makes and the policy of the chart: its own pod's entry of the
 * status, and nothing else.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { after, before as beforeAll, test } from 'node:test';
import { objectsOf, type Rendered, render, valueFile } from '../charts/rendering.ts';
import { desiredObjects } from '../operator/desired.ts';
import { type Pod, storageLabel, type WalStorage } from '../operator/kubernetes.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { example } from './crd-refusals.ts';
import { eventually, Namespace } from './running-operator.ts';

interface Answer {
  readonly status: number;
  readonly message: string;
}

interface ChangeOptions {
  /** By default the own pod's. */
  readonly manager?: string;
  readonly token?: string;
  readonly name?: string;
  /** By default server-side apply. */
  readonly type?: 'application/merge-patch+json' | 'application/json-patch+json';
  /** Of the request, below the WalStorage. */
  readonly subresource?: '/status' | '';
  /** Nothing is stored. */
  readonly dryRun?: boolean;
}

let plane: ControlPlane;
let namespace: Namespace;
let ca: Buffer;
/** The pods `db-0` (ours) and `db-1`. */
let own: Pod;
let other: Pod;
let token: string;

beforeAll(async () => {
  plane = await ControlPlane.start({ withControllers: false });
  await plane.installCrd();
  ca = await readFile(plane.caFile);
  namespace = await Namespace.create(plane, 'identity');
  for (const name of ['orders', 'others']) await namespace.applyStorage(name, example.spec);
  [own, other] = [await namespace.createPod('db-0', 'orders'), await namespace.createPod('db-1', 'orders')];
  // The Role, as the operator makes it.
  const storage = await namespace.storage('orders');
  for (const { object } of desiredObjects(storage, undefined, ['db'])) await plane.apply(object);
  token = await tokenOf(own);
  await report({ pods: [{ ...entry(own), collections: 3 }] });
  // The other pod's entry, and what the operator writes.
  await namespace.report('orders', other, { ready: true, collections: 5 });
  await applyAsAdministrator({ podCount: 2, collections: 8, conditions: [ready] });
  await installPolicy();
});
after(async () => {
  namespace?.close();
  await plane?.stop();
});

const ready = {
  type: 'Ready',
  status: 'True',
  reason: 'AllPodsReady',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
} as const;

function isPolicy({ kind, metadata }: Rendered): boolean {
  return kind.startsWith('ValidatingAdmissionPolicy') && metadata.name === 'walstorage-operator';
}

/** The policy of the chart, in force. */
async function installPolicy(): Promise<void> {
  const policies = objectsOf(await render(['-f', valueFile('minimal')])).filter(isPolicy);
  assert.equal(policies.length, 2);
  await plane.apply(...policies);
  await eventually('the policy is in force', async () => {
    const { status } = await report({ pods: [entry(own)] }, { manager: 'somebody', dryRun: true });
    return status === 422 || undefined;
  });
}

function tokenOf({ metadata: { name, uid } }: Pod): Promise<string> {
  return plane.createServiceAccountToken(namespace.name, 'db', { boundPod: { name, uid } });
}

function entry({ metadata: { name, uid } }: Pod): { name: string; uid: string } {
  return { name, uid };
}

/** A request with a token. */
async function send(
  method: 'GET' | 'PATCH' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  options: { readonly body?: object; readonly type?: string; readonly token?: string } = {},
): Promise<Answer> {
  const headers = {
    authorization: `Bearer ${options.token ?? token}`,
    'content-type': options.type ?? 'application/json',
  };
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const asked = request(`${plane.server}${path}`, { method, headers, ca, agent: false }, (response) => {
    text(response).then((body) => {
      const { message = '' }: { message?: string } = JSON.parse(body);
      resolve({ status: response.statusCode ?? 0, message });
    }, reject);
  });
  asked.on('error', reject);
  asked.end(options.body === undefined ? undefined : JSON.stringify(options.body));
  return promise;
}

/** Sends a change of a WalStorage with the token of the own pod. */
function change(body: object, options: ChangeOptions = {}): Promise<Answer> {
  const { manager = `pod-${own.metadata.uid}`, name = 'orders', type, subresource = '/status' } = options;
  const query = new URLSearchParams({ fieldManager: manager });
  if (type === undefined) query.set('force', 'true');
  if (options.dryRun === true) query.set('dryRun', 'All');
  const path = `/apis/wal.proximadb.io/v1alpha1/namespaces/${namespace.name}/walstorages/${name}${subresource}?${query.toString()}`;
  return send('PATCH', path, {
    body,
    type: type ?? 'application/apply-patch+yaml',
    ...(options.token === undefined ? {} : { token: options.token }),
  });
}

/** Applies a status as a sidecar does. */
function report(status: object, options: ChangeOptions = {}): Promise<Answer> {
  const { apiVersion, kind } = example;
  return change({ apiVersion, kind, metadata: { name: options.name ?? 'orders' }, status }, options);
}

async function applyAsAdministrator(status: object): Promise<void> {
  const { apiVersion, kind } = example;
  const object = { apiVersion, kind, metadata: { name: 'orders', namespace: namespace.name }, status };
  const flags = ['--server-side', '--subresource=status', '--field-manager=walstorage-operator', '--force-conflicts'];
  await plane.kubectl(['apply', ...flags, '-f', '-'], { input: JSON.stringify(object) });
}

interface ManagerRecord {
  readonly manager: string;
  fieldsV1: object;
}

/** Who owns what of a WalStorage. */
async function managersOf(name: string): Promise<readonly ManagerRecord[]> {
  const flags = ['-n', namespace.name, '-o', 'jsonpath={.metadata.managedFields}'];
  return JSON.parse(await plane.kubectl(['get', 'walstorage', name, ...flags]));
}

/** A status that differs by the own entry alone: a request that changes nothing is dropped before it is judged. */
async function ownEntryChanged(collections: number): Promise<object> {
  const { pods = [] } = (await namespace.storage('orders')).status ?? {};
  return {
    pods: [...pods.filter(({ name }) => name !== own.metadata.name), { ...entry(own), collections: 100 + collections }],
  };
}

/** What `change` must leave as it is: all but the own entry. */
function withoutOwn({ metadata, spec, status }: WalStorage): object {
  const { pods = [], ...rest } = status ?? {};
  return { labels: metadata.labels, spec, rest, pods: pods.filter(({ name }) => name !== own.metadata.name) };
}

const merge = 'application/merge-patch+json';
const jsonPatch = 'application/json-patch+json';

const permitted: readonly { readonly what: string; readonly ask: () => Promise<Answer> }[] = [
  { what: 'the own entry', ask: () => report({ pods: [{ ...entry(own), ready: true, collections: 4 }] }) },
  {
    what: 'the own entry, the same again',
    ask: () => report({ pods: [{ ...entry(own), ready: true, collections: 4 }] }),
  },
  {
    what: 'the own entry with assignments and URLs',
    ask: () =>
      report({
        pods: [
          {
            ...entry(own),
            urls: [{ url: 'file:///mnt/wal1/wal', state: 'Available', collections: 1 }],
            assignments: [{ component: 'wal', collection: 'c', url: 'file:///mnt/wal1/wal' }],
          },
        ],
      }),
  },
  { what: 'to take the own entry back', ask: () => report({}) },
  { what: 'the own entry anew', ask: () => report({ pods: [entry(own)] }) },
];

for (const { what, ask } of permitted) {
  test(`a sidecar may write ${what}`, async () => {
    const before = withoutOwn(await namespace.storage('orders'));
    assert.deepEqual(await ask(), { status: 200, message: '' });
    assert.deepEqual(withoutOwn(await namespace.storage('orders')), before);
  });
}

const onlyOwn = /a pod may write its own entry of status\.pods only/;
const forbidden = /is forbidden: User "system:serviceaccount:identity:db" cannot/;

const refused: readonly { readonly what: string; readonly ask: () => Promise<Answer>; readonly says: RegExp }[] = [
  {
    what: "another pod's entry",
    ask: () => report({ pods: [entry(own), { ...entry(other), collections: 0 }] }),
    says: onlyOwn,
  },
  { what: "only another pod's entry", ask: () => report({ pods: [{ ...entry(other), ready: false }] }), says: onlyOwn },
  {
    what: 'the entry of a pod that is not there',
    ask: () => report({ pods: [{ name: 'db-9', uid: 'x' }] }),
    says: onlyOwn,
  },
  {
    what: 'the removal of all entries by a merge patch',
    ask: () => change({ status: { pods: null } }, { type: merge }),
    says: onlyOwn,
  },
  {
    what: "the removal of another's entry by a JSON patch",
    ask: async () => {
      const pods = (await namespace.storage('orders')).status?.pods ?? [];
      const index = pods.findIndex(({ name }) => name === other.metadata.name);
      return change([{ op: 'remove', path: `/status/pods/${index}` }], { type: jsonPatch });
    },
    says: onlyOwn,
  },
  {
    what: "to own a field of another's entry as well, unchanged",
    ask: () => report({ pods: [entry(own), { ...entry(other), collections: 5 }] }),
    says: /a pod may own its own entry of status\.pods only/,
  },
  {
    what: 'to own a total as well, unchanged',
    ask: () => report({ podCount: 2, pods: [entry(own)] }),
    says: /a pod may own its own entry of status\.pods only/,
  },
  {
    what: 'to own a condition as well, unchanged',
    ask: () => report({ conditions: [ready], pods: [entry(own)] }),
    says: /a pod may own its own entry of status\.pods only/,
  },
  {
    what: 'a condition',
    ask: () => report({ pods: [entry(own)], conditions: [{ ...ready, status: 'False' }] }),
    says: /changes another field of the status/,
  },
  {
    what: 'a new condition',
    ask: () => report({ pods: [entry(own)], conditions: [{ ...ready, type: 'Degraded' }] }),
    says: /changes another field of the status/,
  },
  {
    what: 'a total',
    ask: () => report({ pods: [entry(own)], collections: 99 }),
    says: /changes another field of the status/,
  },
  {
    what: 'the removal of a total',
    ask: () => change({ status: { podCount: null } }, { type: merge }),
    says: /changes another field of the status/,
  },
  { what: 'the removal of the status', ask: () => change({ status: null }, { type: merge }), says: onlyOwn },
  {
    what: 'the own entry under a wrong uid',
    ask: () => report({ pods: [{ ...entry(own), uid: other.metadata.uid }] }),
    says: /the uid in a pod's entry is that of the pod/,
  },
  {
    what: 'the own entry without a uid',
    ask: () => report({ pods: [{ name: own.metadata.name, collections: 1 }] }),
    says: /the uid in a pod's entry is that of the pod/,
  },
  {
    what: 'the own entry under the field manager of the operator',
    ask: () => report({ pods: [entry(own)] }, { manager: 'walstorage-operator' }),
    says: /the field manager of a pod's report is pod-<uid of the pod>/,
  },
  {
    what: 'the own entry under the field manager of another pod',
    ask: () => report({ pods: [entry(own)] }, { manager: `pod-${other.metadata.uid}` }),
    says: /the field manager of a pod's report is pod-<uid of the pod>/,
  },
  {
    what: "to take another's entry away under its field manager",
    ask: () => report({}, { manager: `pod-${other.metadata.uid}` }),
    says: /the field manager of a pod's report is pod-<uid of the pod>/,
  },
  {
    what: 'anything with a token that is bound to no pod',
    ask: async () => {
      const unbound = await plane.createServiceAccountToken(namespace.name, 'db');
      return report({ pods: [entry(own)] }, { token: unbound });
    },
    says: /this token is bound to none/,
  },
  {
    what: 'the spec',
    ask: () => change({ spec: { wal: { syncMode: 'Never' } } }, { type: merge, subresource: '' }),
    says: forbidden,
  },
  {
    what: 'another WalStorage',
    ask: () => report({ pods: [entry(own)] }, { name: 'others' }),
    says: forbidden,
  },
  {
    what: 'a WalStorage that is not there',
    ask: () => report({ pods: [entry(own)] }, { name: 'absent' }),
    says: forbidden,
  },
  { what: 'to read Secrets', ask: () => send('GET', '/api/v1/namespaces/identity/secrets'), says: forbidden },
  {
    what: 'to read the WalStorage',
    ask: () => send('GET', '/apis/wal.proximadb.io/v1alpha1/namespaces/identity/walstorages/orders'),
    says: forbidden,
  },
  {
    what: 'to delete the WalStorage',
    ask: () => send('DELETE', '/apis/wal.proximadb.io/v1alpha1/namespaces/identity/walstorages/orders'),
    says: forbidden,
  },
  {
    what: 'to replace the status',
    ask: async () => {
      const body = await namespace.storage('orders');
      return send('PUT', '/apis/wal.proximadb.io/v1alpha1/namespaces/identity/walstorages/orders/status', { body });
    },
    says: forbidden,
  },
  {
    what: 'to label a pod',
    ask: () => {
      const body = { metadata: { labels: { [storageLabel]: 'others' } } };
      return send('PATCH', '/api/v1/namespaces/identity/pods/db-0', { body, type: merge });
    },
    says: forbidden,
  },
];

for (const { what, ask, says } of refused) {
  test(`a sidecar is refused: ${what}`, async () => {
    const before = (await namespace.storage('orders')).metadata.resourceVersion;
    const { status, message } = await ask();
    assert.ok(status === 403 || status === 422, `${status}: ${message}`);
    assert.match(message, says);
    assert.equal((await namespace.storage('orders')).metadata.resourceVersion, before);
  });
}

async function recordsOfOthers(): Promise<ManagerRecord[]> {
  return (await managersOf('orders')).filter(({ manager }) => manager !== `pod-${own.metadata.uid}`);
}

test('a request that wipes or forges the record of who owns what leaves that of others as it is', async () => {
  const records = await recordsOfOthers();
  const forged = structuredClone(records);
  for (const record of forged) record.fieldsV1 = { 'f:status': { 'f:podCount': {} } };
  for (const [collections, managedFields] of [[{}], forged].entries()) {
    const status = await ownEntryChanged(collections);
    assert.equal((await change({ metadata: { managedFields }, status }, { type: merge })).status, 200);
    assert.deepEqual(await recordsOfOthers(), records);
  }
});

test('who holds update is free: the operator writes totals and takes the entry of a gone pod away', async () => {
  const gone = await namespace.createPod('db-2', 'orders');
  const { status } = await report(
    { pods: [entry(gone)] },
    { manager: `pod-${gone.metadata.uid}`, token: await tokenOf(gone) },
  );
  assert.equal(status, 200);
  await applyAsAdministrator({ podCount: 3, collections: 9, conditions: [ready] });
  const { apiVersion, kind } = example;
  const nothing = { apiVersion, kind, metadata: { name: 'orders', namespace: namespace.name } };
  const flags = ['--server-side', '--subresource=status', `--field-manager=pod-${gone.metadata.uid}`];
  await plane.kubectl(['apply', ...flags, '-f', '-'], { input: JSON.stringify(nothing) });
  const storage = await namespace.storage('orders');
  assert.equal(storage.status?.podCount, 3);
  assert.ok(!storage.status?.pods?.some(({ name }) => name === 'db-2'));
});
