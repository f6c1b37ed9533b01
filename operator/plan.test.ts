import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodUrlStatus, StatusCondition, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { parse } from '../sidecar/config/parse.ts';
import { claimName } from './claim-name.ts';
import { configKey, ownedName } from './desired.ts';
import type { Pod, PodVolume } from './kubernetes.ts';
import { carriedOut, condition, entryOf, observe, podOf, spec, storageOf } from './plan.fixture.ts';
import { type Observed, type Plan, plan } from './plan.ts';

function renderedText(planned: Plan): string {
  const configMap = planned.objects.find(({ slot }) => slot === 'configMap');
  const text = configMap?.object.data?.[configKey];
  assert.ok(text !== undefined, 'no ConfigMap is planned');
  return text;
}

function renderedUrls(text: string): string[] {
  const parsed = parse(text, { POD_NAME: 'p', POD_NAMESPACE: 'n' });
  assert.deepEqual(parsed.problems, []);
  return parsed.configuration?.wal.urls.map(({ written }) => written) ?? [];
}

test('O1 a new WalStorage gets a ConfigMap, a Role and a RoleBinding that it owns, and a status', () => {
  const planned = plan(observe({ pods: [podOf('db-0'), podOf('db-1', { account: 'other' })] }));
  assert.deepEqual(
    planned.objects.map(({ object, uid }) => [object.kind, object.metadata.name, uid]),
    ['ConfigMap', 'Role', 'RoleBinding'].map((kind) => [kind, 'orders-walstorage', undefined]),
  );
  for (const { object } of planned.objects) {
    assert.deepEqual(object.metadata.ownerReferences, [
      {
        apiVersion: 'wal.proximadb.io/v1alpha1',
        kind: 'WalStorage',
        name: 'orders',
        uid: 'storage-uid',
        controller: true,
      },
    ]);
  }
  const [, role, binding] = planned.objects;
  assert.deepEqual(role?.object.rules, [
    { apiGroups: ['wal.proximadb.io'], resources: ['walstorages/status'], resourceNames: ['orders'], verbs: ['patch'] },
  ]);
  assert.deepEqual(
    binding?.object.subjects?.map(({ kind, name, namespace }) => `${kind} ${namespace}/${name}`),
    ['ServiceAccount default/db', 'ServiceAccount default/other'],
  );
  assert.equal(planned.status?.configMap, 'orders-walstorage');
});

const nothing: Plan = {
  objects: [],
  claims: [],
  nudges: [],
  eviction: undefined,
  prunes: [],
  status: undefined,
  occurrences: [],
  rolloutMemory: undefined,
  againMs: undefined,
};

/** The volume by which the webhook mounts a pod's claim for `nvme1`. */
function mounting(podName: string): PodVolume {
  const name = claimName('orders', 'nvme1', podName);
  return { name: 'walstorage-data-nvme1', persistentVolumeClaim: { claimName: name } };
}

test('R8 a plan that was carried out leaves nothing to do', () => {
  const entries = [entryOf('db-0'), entryOf('db-1', { ready: false })];
  const cases: Partial<Observed>[] = [
    {},
    { pods: [podOf('db-0')] },
    { pods: [podOf('db-0'), podOf('db-1')], storage: storageOf({ status: { pods: entries } }) },
    { storage: storageOf({ spec: { ...spec, wal: { ...spec.wal, memoryFlushSize: '1Gi' } } }) },
    { pods: [podOf('db-0', { hasSidecar: false }), podOf('db-1', { volumes: [mounting('db-1')] })] },
    { pods: [podOf('db-0', { annotations: { 'wal.proximadb.io/injected': 'older' } })] },
  ];
  for (const given of cases) {
    const observed = observe(given);
    const first = plan(observed);
    assert.ok(first.status !== undefined);
    const later = new Date(observed.now.getTime() + 60_000);
    const second = plan({ ...carriedOut(observed, first), now: later });
    assert.deepEqual(second, nothing);
  }
});

test('R8 what others add to our objects is left alone, what they change is set again', () => {
  const first = observe({ pods: [podOf('db-0')] });
  const done = carriedOut(first, plan(first));
  const { role, configMap } = done.live;
  assert.ok(role !== undefined && configMap !== undefined);
  const labelled = { ...role.metadata, labels: { ...role.metadata.labels, team: 'a' } };
  const added = { ...configMap, data: { ...configMap.data, note: 'theirs' } };
  assert.deepEqual(
    plan({ ...done, live: { ...done.live, role: { ...role, metadata: labelled }, configMap: added } }).objects,
    [],
  );
  const rules = [...(role.rules ?? []), { apiGroups: [''], resources: ['secrets'], verbs: ['get'] }];
  const [again, ...rest] = plan({ ...done, live: { ...done.live, role: { ...role, rules } } }).objects;
  assert.deepEqual(rest, []);
  assert.equal(again?.slot, 'role');
  assert.equal(again.uid, 'made-uid');
});

test('O1 an object of our name without our owner is never touched: NameTaken', () => {
  const metadata = { name: 'orders-walstorage', namespace: 'default', uid: 'theirs', resourceVersion: '7' };
  const planned = plan(observe({ live: { configMap: { metadata, data: { note: 'mine' } } } }));
  assert.deepEqual(
    planned.objects.map(({ slot }) => slot),
    ['role', 'roleBinding'],
  );
  for (const type of ['Ready', 'ConfigRendered']) {
    const { status, reason, message } = condition(planned, type);
    assert.deepEqual([status, reason], ['False', 'NameTaken']);
    assert.match(message, /ConfigMap orders-walstorage exists .* delete it, or give this WalStorage another name/);
  }
  assert.equal(planned.status?.configHash, '');
  assert.ok(planned.againMs !== undefined, 'no watch tells when it is gone');
});

test('O1 what an earlier WalStorage of the name owns is left to Kubernetes to delete', () => {
  const old = { apiVersion: 'wal.proximadb.io/v1alpha1', kind: 'WalStorage', name: 'orders', uid: 'earlier' };
  const metadata = { name: 'orders-walstorage', namespace: 'default', uid: 'u', resourceVersion: '7' };
  const planned = plan(observe({ live: { role: { metadata: { ...metadata, ownerReferences: [old] } } } }));
  assert.ok(!planned.objects.some(({ slot }) => slot === 'role'));
  assert.match(
    condition(planned, 'Ready').message,
    /an earlier WalStorage of this name; Kubernetes is about to delete/,
  );
});

test('the file has only what the user set, rendered_by, and the paths of each pod where pods share', () => {
  const shared: WalStorageSpec = {
    volumes: [
      ...(spec.volumes ?? []),
      { name: 'node', mountPath: '/mnt/node', hostPath: { path: '/disk' } },
      { name: 'claim', mountPath: '/mnt/claim', persistentVolumeClaim: { claimName: 'c' } },
      { name: 'scratch', mountPath: '/mnt/scratch', emptyDir: {} },
      { name: 'own', mountPath: '/mnt/own', podVolume: { name: 'data' } },
    ],
    wal: {
      urls: [
        { url: 'file:///mnt/nvme1/wal' },
        { url: 'file:///mnt/node/wal/' },
        { url: 'file:///mnt/claim/${POD_NAME}/wal' },
        { url: 's3://bucket/prefix', credentialsSecretRef: { name: 'wal-s3' }, options: { region: 'us-west-2' } },
        { url: 'file:///mnt/own/wal' },
        { url: 'file:///mnt/scratch' },
      ],
      memoryFlushSize: '4Mi',
    },
    viper: { urls: [{ url: 'file:///mnt/claim/viper' }], distributionStrategy: 'Hash' },
  };
  const text = renderedText(plan(observe({ storage: storageOf({ spec: shared }) })));
  assert.equal(
    text,
    `rendered_by = "1.2.3"

[storage.wal_config]
wal_urls = [ "file:///mnt/nvme1/wal", "file:///mnt/node/wal/\${POD_NAMESPACE}/\${POD_NAME}", "file:///mnt/claim/\${POD_NAME}/wal", "s3://bucket/prefix/\${POD_NAMESPACE}/\${POD_NAME}", "file:///mnt/own/wal", "file:///mnt/scratch" ]
memory_flush_size_bytes = 4194304

[storage.viper_config]
data_urls = [ "file:///mnt/claim/viper/\${POD_NAMESPACE}/\${POD_NAME}" ]
distribution_strategy = "Hash"

[storage.url_options."s3://bucket/prefix/\${POD_NAMESPACE}/\${POD_NAME}"]
region = "us-west-2"
credentials_dir = "/etc/walstorage/credentials/wal-s3"
`,
  );
});

test('a spec that a sidecar would refuse is not rendered: the last file stays, and every problem is named', () => {
  const first = observe();
  const done = carriedOut(first, plan(first));
  const wrong = {
    ...spec,
    wal: { urls: [...spec.wal.urls, { url: 'file:///mnt/nvme1/wal/inner' }], memoryFlushSize: '1Gi' },
  };
  const planned = plan({ ...done, storage: { ...done.storage, spec: wrong } });
  assert.deepEqual(planned.objects, []);
  const { status, reason, message } = condition(planned, 'ConfigRendered');
  assert.deepEqual([status, reason], ['False', 'SpecInvalid']);
  assert.match(message, /file:\/\/\/mnt\/nvme1\/wal\/inner/);
  assert.match(message, /global_flush_threshold|memory_flush_size_bytes/);
  assert.equal(planned.status?.configHash, done.storage.status?.configHash);
});

test('O7 a URL that left the spec while a pod holds collections there stays in the file, and is named', () => {
  const used = storageOf({ status: { pods: [entryOf('db-0')] } });
  const first = observe({ storage: used, pods: [podOf('db-0')] });
  const done = carriedOut(first, plan(first));
  const reduced = { ...spec, wal: { ...spec.wal, urls: [{ url: 'file:///mnt/nvme2/wal' }], memoryFlushSize: '4Mi' } };
  const planned = plan({ ...done, storage: { ...done.storage, spec: reduced } });
  const text = renderedText(planned);
  assert.deepEqual(renderedUrls(text), ['file:///mnt/nvme2/wal', 'file:///mnt/nvme1/wal']);
  assert.match(text, /memory_flush_size_bytes = 4194304/);
  const { status, reason, message } = condition(planned, 'ConfigRendered');
  assert.deepEqual([status, reason], ['False', 'UrlInUse']);
  assert.match(message, /file:\/\/\/mnt\/nvme1\/wal \(wal\) left the spec .* Put it back/);
  // Listed here with its collections, the CRD's rule would refuse every later change, and so a deletion.
  assert.deepEqual(
    planned.status?.urls.map(({ url }) => url),
    ['file:///mnt/nvme2/wal'],
  );
});

test('O7 collections under a URL with any variable that a sidecar expands are counted, so that it stays in use', () => {
  const url = 'file:///mnt/nvme1/${WALSTORAGE_NAME}/${POD_NAMESPACE}/${POD_NAME}';
  const entry = entryOf('db-0', { urls: [row('file:///mnt/nvme1/orders/default/db-0', 3)] });
  const storage = storageOf({ spec: { ...spec, wal: { urls: [{ url }] } }, status: { pods: [entry] } });
  const planned = plan(observe({ storage, pods: [podOf('db-0')] }));
  assert.deepEqual(planned.status?.urls, [{ url, collections: 3, bytes: 300, available: 1 }]);
});

test('O7 while a pod that was made anew has not reported, or none is there, a URL holds what it held', () => {
  const url = 'file:///mnt/nvme1/wal';
  const wal = { urls: [{ url }] };
  const observed = observe({ storage: storageOf({ spec: { ...spec, wal }, status: { pods: [entryOf('db-0')] } }) });
  const before = carriedOut(observed, plan({ ...observed, pods: [podOf('db-0')] }));
  const totals = (pods: readonly ReturnType<typeof podOf>[], entries = [entryOf('db-0')]) => {
    const status = { ...before.storage.status, pods: entries };
    const after = { ...before, pods, storage: { ...before.storage, status } };
    return carriedOut(after, plan(after)).storage.status?.urls;
  };
  const held = [{ url, collections: 6, bytes: 1_500_000, available: 0 }];
  assert.deepEqual(totals([podOf('db-0', { uid: 'new' })]), held);
  assert.deepEqual(totals([], []), held);
  const dropped = entryOf('db-0', { urls: [row(url, 0)] });
  assert.deepEqual(totals([podOf('db-0')], [dropped]), [{ url, collections: 0, bytes: 0, available: 1 }]);
});

test('R1 a URL by the uid of the pod is refused: the next pod would not find the log', () => {
  const wal = { urls: [{ url: 'file:///mnt/nvme1/${POD_UID}' }] };
  const planned = plan(observe({ storage: storageOf({ spec: { ...spec, wal } }) }));
  const { reason, message } = condition(planned, 'ConfigRendered');
  assert.equal(reason, 'SpecInvalid');
  assert.match(message, /wal: file:\/\/\/mnt\/nvme1\/\$\{POD_UID\} has another place .* use \$\{POD_NAME\} instead/);
});

test('O7 a URL that left the spec unused leaves the file', () => {
  const unused = entryOf('db-0', { urls: [{ url: 'file:///mnt/nvme1/wal', state: 'Available', collections: 0 }] });
  const first = observe({ storage: storageOf({ status: { pods: [unused] } }), pods: [podOf('db-0')] });
  const done = carriedOut(first, plan(first));
  const reduced = { ...spec, wal: { urls: [{ url: 'file:///mnt/nvme2/wal' }] } };
  const planned = plan({ ...done, storage: { ...done.storage, spec: reduced } });
  assert.deepEqual(renderedUrls(renderedText(planned)), ['file:///mnt/nvme2/wal']);
  assert.equal(condition(planned, 'ConfigRendered').reason, 'Rendered');
});

function row(url: string, collections: number, state: 'Available' | 'Full' = 'Available'): PodUrlStatus {
  return { url, state, collections, bytes: collections * 100 };
}

test('totals are sums over the pods that are there; a URL is known however a sidecar spells it', () => {
  const shared: WalStorageSpec = {
    volumes: [{ name: 'node', mountPath: '/mnt/node', hostPath: { path: '/disk' } }],
    wal: { urls: [{ url: 'file:///mnt/node/wal' }, { url: 'gs://bucket/x' }] },
  };
  const pods = [
    entryOf('db-0', {
      urls: [row('file:///mnt/node/wal/${POD_NAMESPACE}/${POD_NAME}', 3), row('gcs://bucket/x/default/db-0', 4)],
    }),
    entryOf('db-1', { urls: [row('file:///mnt/node/wal/default/db-1', 5, 'Full')] }),
    entryOf('db-2', { uid: 'an earlier db-2' }),
    entryOf('gone', {}),
  ];
  const planned = plan(
    observe({
      storage: storageOf({ spec: shared, status: { pods } }),
      pods: [podOf('db-2'), podOf('db-1'), podOf('db-0'), podOf('job', { phase: 'Succeeded' })],
    }),
  );
  const { status } = planned;
  assert.ok(status !== undefined);
  assert.deepEqual(
    [status.urlCount, status.podCount, status.readyPods, status.collections, status.bytes, status.size],
    [2, 3, 2, 22, 6_356_212, '6.06 MiB'],
  );
  assert.deepEqual(status.urls, [
    { url: 'file:///mnt/node/wal', collections: 8, bytes: 800, available: 1 },
    { url: 'gs://bucket/x', collections: 4, bytes: 400, available: 1 },
  ]);
  assert.equal(status.distributionStrategy, 'LoadBalanced');
  const { reason, message } = condition(planned, 'Degraded');
  assert.equal(reason, 'UrlsNotAvailable');
  assert.match(message, /file:\/\/\/mnt\/node\/wal\/default\/db-1 in pod db-1 is Full/);
});

test('entries and field managers of pods that are gone or have ended are pruned, others not', () => {
  const managedFields = [
    { manager: 'walstorage-operator', subresource: 'status' },
    { manager: 'pod-uid-db-0', subresource: 'status' },
    { manager: 'pod-forgotten', subresource: 'status' },
    { manager: 'pod-elsewhere' },
  ];
  const pods = [entryOf('db-0'), entryOf('db-1', { uid: 'an earlier db-1' }), entryOf('gone'), entryOf('job')];
  const storage = storageOf({ status: { pods } });
  const planned = plan(
    observe({
      storage: { ...storage, metadata: { ...storage.metadata, managedFields } },
      pods: [podOf('db-0'), podOf('db-1'), podOf('job', { phase: 'Failed' })],
    }),
  );
  assert.deepEqual(planned.prunes, [
    { manager: 'pod-forgotten', uid: 'forgotten', podName: undefined },
    { manager: 'pod-an earlier db-1', uid: 'an earlier db-1', podName: 'db-1' },
    { manager: 'pod-uid-gone', uid: 'uid-gone', podName: 'gone' },
    { manager: 'pod-uid-job', uid: 'uid-job', podName: 'job' },
  ]);
});

test('O8 Ready: without pods True with the label to set, else when every pod is ready', () => {
  const none = condition(plan(observe()), 'Ready');
  assert.deepEqual([none.status, none.reason], ['True', 'NoPods']);
  assert.match(none.message, /wal\.proximadb\.io\/storage: orders on the pod template/);

  const status = { pods: [entryOf('db-0'), entryOf('db-1'), entryOf('db-2', { ready: false })] };
  const storage = storageOf({ status });
  const all = condition(plan(observe({ storage, pods: [podOf('db-0'), podOf('db-1', { ready: true })] })), 'Ready');
  assert.deepEqual([all.status, all.reason, all.message], ['True', 'AllPodsReady', '2 of 2 pods ready.']);

  const some = [podOf('db-0'), podOf('db-1', { ready: false }), podOf('db-2'), podOf('db-3')];
  const waiting = condition(plan(observe({ storage, pods: some })), 'Ready');
  assert.deepEqual([waiting.status, waiting.reason], ['False', 'PodsNotReady']);
  assert.equal(
    waiting.message,
    '1 of 4 pods ready; waiting for db-1 (the pod is not Ready), db-2 (its sidecar is not ready), ' +
      'db-3 (its sidecar has not reported yet).',
  );
});

test('a message lists five names and counts the rest', () => {
  const many = Array.from({ length: 9 }, (_, index) => podOf(`db-${index}`));
  const { message } = condition(plan(observe({ pods: many })), 'Ready');
  assert.match(message, /db-4 \([^)]*\), and 4 more\.$/);
});

function limited(given: WalStorageSpec, pods: readonly Pod[] = []): StatusCondition {
  return condition(plan(observe({ storage: storageOf({ spec: given }), pods })), 'DurabilityLimited');
}

test('R1 volumes that die with a pod or a node are named in DurabilityLimited', () => {
  assert.deepEqual([limited(spec).status, limited(spec).reason], ['False', 'Durable']);

  const volumes = [
    { name: 'scratch', mountPath: '/mnt/nvme1', emptyDir: {} },
    { name: 'node', mountPath: '/mnt/nvme2', hostPath: { path: '/disk' } },
    { name: 'unused', mountPath: '/mnt/unused', emptyDir: {} },
  ];
  const volatile = limited({ ...spec, volumes });
  assert.deepEqual([volatile.status, volatile.reason], ['True', 'VolatileVolumes']);
  assert.match(volatile.message, /Volume scratch is deleted with its pod.*Volume node lives on one node's disk/);
  assert.doesNotMatch(volatile.message, /unused/);

  const own = { ...spec, volumes: [{ name: 'v', mountPath: '/mnt', podVolume: { name: 'data' } }] };
  assert.equal(limited(own, [podOf('db-0', { volumes: [{ name: 'data' }] })]).status, 'False');
  const inMemory = limited(own, [podOf('db-0', { volumes: [{ name: 'data', emptyDir: { medium: 'Memory' } }] })]);
  assert.match(inMemory.message, /Volume v is deleted with its pod/);

  const periodic = limited({ ...spec, wal: { ...spec.wal, syncMode: 'Periodic' } });
  assert.deepEqual([periodic.status, periodic.reason], ['True', 'SyncMode']);
});

test('a condition keeps its time until its status changes, and says which generation it is about', () => {
  const first = observe({ pods: [podOf('db-0')] });
  const done = carriedOut(first, plan(first));
  const began = condition(plan(first), 'Ready').lastTransitionTime;
  assert.equal(began, '2026-11-22T10:00:00Z');
  const later = new Date('2026-11-22T11:00:00Z');
  const storage = { ...done.storage, metadata: { ...done.storage.metadata, generation: 4 } };

  const same = condition(plan({ ...done, storage, pods: [podOf('db-0'), podOf('db-1')], now: later }), 'Ready');
  assert.deepEqual([same.status, same.lastTransitionTime, same.observedGeneration], ['False', began, 4]);
  const other = condition(plan({ ...done, storage, pods: [], now: later }), 'Ready');
  assert.deepEqual([other.status, other.lastTransitionTime], ['True', '2026-11-22T11:00:00Z']);
});

test('what the API server refused for good is said in the conditions', () => {
  const refusal = 'ConfigMap orders-walstorage was refused: exceeded quota';
  const planned = plan(observe({ refusal }));
  assert.deepEqual(planned.objects, []);
  for (const type of ['Ready', 'ConfigRendered']) {
    const { status, reason, message } = condition(planned, type);
    assert.deepEqual([status, reason, message], ['False', 'ApplyRefused', refusal]);
  }
});

test('updatedPods counts the pods that report the hash of the file', () => {
  const hash = plan(observe()).status?.configHash ?? '';
  assert.match(hash, /^[0-9a-f]{64}$/);
  const pods = [entryOf('db-0', { configHash: hash }), entryOf('db-1', { configHash: 'older' }), entryOf('db-2')];
  const planned = plan(
    observe({ storage: storageOf({ status: { pods } }), pods: pods.map(({ name }) => podOf(name)) }),
  );
  assert.equal(planned.status?.updatedPods, 1);
});

test('the name of what belongs to a WalStorage is the documented one', () => {
  assert.equal(ownedName(storageOf()), 'orders-walstorage');
});
