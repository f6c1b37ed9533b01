import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimName } from './claim-name.ts';
import { type LiveClaims, refusedClaim } from './claims.ts';
import type { PersistentVolumeClaim, Pod, WalStorage } from './kubernetes.ts';
import { carriedOut, condition, entryOf, observe, podOf, spec, storageOf } from './plan.fixture.ts';
import { type Plan, plan } from './plan.ts';

const nameOf = (volume: string, pod: string): string => claimName('orders', volume, pod);

/** As the webhook injects it: with the claims of both volumes mounted. */
function claiming(name: string, more: Parameters<typeof podOf>[1] = {}): Pod {
  const volumes = ['nvme1', 'nvme2'].map((volume) => ({
    name: `walstorage-data-${volume}`,
    persistentVolumeClaim: { claimName: nameOf(volume, name) },
  }));
  return podOf(name, { volumes, ...more });
}

function sized(storage: number | string): WalStorage {
  const claimTemplate = { resources: { requests: { storage } } };
  const volumes = ['nvme1', 'nvme2'].map((name) => ({ name, mountPath: `/mnt/${name}`, claimTemplate }));
  return storageOf({ spec: { ...spec, volumes } });
}

/** The claims that were made for these pods at 20Gi, changed by `change`. */
function madeFor(pods: Pod[], change: Partial<PersistentVolumeClaim> = {}): LiveClaims {
  const observed = observe({ pods });
  const made = carriedOut(observed, plan(observed)).claims;
  return new Map([...made].map(([name, claim]) => [name, { ...claim, status: { phase: 'Bound' }, ...change }]));
}

function sizes({ claims }: Plan): (readonly [string, string | undefined, string])[] {
  return claims.map(({ object, sizeBefore, size }) => [object.metadata.name, sizeBefore, size]);
}

test('O2 each pod gets a claim for each claimTemplate, owned by nobody, with what tells it is ours', () => {
  const planned = plan(observe({ pods: [claiming('db-0'), claiming('db-1')] }));
  assert.deepEqual(
    planned.claims.map(({ object, uid, podName }) => [object.metadata.name, podName, uid]),
    [
      [nameOf('nvme1', 'db-0'), 'db-0', undefined],
      [nameOf('nvme2', 'db-0'), 'db-0', undefined],
      [nameOf('nvme1', 'db-1'), 'db-1', undefined],
      [nameOf('nvme2', 'db-1'), 'db-1', undefined],
    ],
  );
  assert.deepEqual(planned.claims[0]?.object, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: nameOf('nvme1', 'db-0'),
      namespace: 'default',
      labels: {
        'app.kubernetes.io/managed-by': 'walstorage-operator',
        'wal.proximadb.io/storage': 'orders',
        'wal.proximadb.io/volume': 'nvme1',
      },
      annotations: { 'wal.proximadb.io/pod': 'db-0' },
    },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '20Gi' } } },
  });
});

test('O2 access modes and storage class are as the template says', () => {
  const claimTemplate = {
    accessModes: ['ReadWriteOncePod' as const],
    storageClassName: 'fast',
    resources: { requests: { storage: 1024 } },
  };
  const volumes = [{ name: 'nvme1', mountPath: '/mnt/nvme1', claimTemplate }];
  const storage = storageOf({ spec: { volumes, wal: { urls: [{ url: 'file:///mnt/nvme1/wal' }] } } });
  const [action] = plan(observe({ storage, pods: [claiming('db-0')] })).claims;
  assert.deepEqual(action?.object.spec, claimTemplate);
});

test('O2 only pods that mount a claim get it: not one without the sidecar, one that ended, or one on its way out', () => {
  const mounting = claiming('db-3').spec.volumes ?? [];
  const pods = [
    podOf('db-0', { hasSidecar: false }),
    claiming('db-1', { phase: 'Succeeded' }),
    claiming('db-2', { isBeingDeleted: true }),
    podOf('other', { volumes: mounting }),
  ];
  assert.deepEqual(plan(observe({ pods })).claims, []);
});

test('R8 O2 claims that are there, also from an earlier WalStorage of the name, are used again and not written', () => {
  const pods = [claiming('db-0')];
  const later = storageOf();
  const storage = { ...later, metadata: { ...later.metadata, uid: 'installed again' } };
  assert.deepEqual(plan(observe({ storage, pods, claims: madeFor(pods) })).claims, []);
});

test('a larger size in the spec grows the claims; a smaller one, or another spelling, changes nothing', () => {
  const pods = [claiming('db-0')];
  const claims = madeFor(pods);
  assert.deepEqual(sizes(plan(observe({ storage: sized('30Gi'), pods, claims }))), [
    [nameOf('nvme1', 'db-0'), '20Gi', '30Gi'],
    [nameOf('nvme2', 'db-0'), '20Gi', '30Gi'],
  ]);
  for (const same of ['20Gi', '20480Mi', 21_474_836_480, '10Gi']) {
    assert.deepEqual(sizes(plan(observe({ storage: sized(same), pods, claims }))), [], String(same));
  }
});

test('claims that a pod waits for are made before others grow', () => {
  const claims = madeFor([claiming('db-0')]);
  const pods = [claiming('db-0'), claiming('db-1')];
  assert.deepEqual(
    sizes(plan(observe({ storage: sized('30Gi'), pods, claims }))).map(([name, before]) => [name, before]),
    [
      [nameOf('nvme1', 'db-1'), undefined],
      [nameOf('nvme2', 'db-1'), undefined],
      [nameOf('nvme1', 'db-0'), '20Gi'],
      [nameOf('nvme2', 'db-0'), '20Gi'],
    ],
  );
});

test('growing leaves what of a claim cannot be changed as it is there, and is bound to its uid', () => {
  const pods = [claiming('db-0')];
  const there = {
    accessModes: ['ReadWriteMany'],
    storageClassName: 'default-of-then',
    resources: { requests: { storage: '20Gi' } },
  };
  const [action] = plan(observe({ storage: sized('30Gi'), pods, claims: madeFor(pods, { spec: there }) })).claims;
  assert.deepEqual(action?.object.spec, { ...there, resources: { requests: { storage: '30Gi' } } });
  assert.equal(action?.uid, `uid-${nameOf('nvme1', 'db-0')}`);
});

test('a claim that is not bound yet is not grown: the API server would refuse it', () => {
  const pods = [claiming('db-0')];
  const claims = madeFor(pods, { status: { phase: 'Pending' } });
  assert.deepEqual(plan(observe({ storage: sized('30Gi'), pods, claims })).claims, []);
});

test('a claim that is being deleted is not grown', () => {
  const pods = [claiming('db-0')];
  const claims = new Map(
    [...madeFor(pods)].map(([name, claim]) => {
      const metadata = { ...claim.metadata, deletionTimestamp: '2026-11-22T09:00:00Z' };
      return [name, { ...claim, metadata }];
    }),
  );
  assert.deepEqual(plan(observe({ storage: sized('30Gi'), pods, claims })).claims, []);
});

test('O1 a claim of our name that was made for something else is never touched: NameTaken', () => {
  const pods = [claiming('db-0')];
  const name = nameOf('nvme1', 'db-0');
  const own = madeFor(pods).get(name);
  assert.ok(own !== undefined);
  const labels = own.metadata.labels ?? {};
  const others: Partial<PersistentVolumeClaim['metadata']>[] = [
    { labels: {}, annotations: {} },
    { labels: { ...labels, 'wal.proximadb.io/storage': 'others' } },
    { labels: { ...labels, 'wal.proximadb.io/volume': 'nvme2' } },
    { annotations: { 'wal.proximadb.io/pod': 'db-1' } },
  ];
  for (const other of others) {
    const taken = { ...own, metadata: { ...own.metadata, ...other } };
    const claims = new Map(madeFor(pods)).set(name, taken);
    const planned = plan(observe({ storage: sized('30Gi'), pods, claims }));
    assert.deepEqual(
      planned.claims.map(({ object }) => object.metadata.name),
      [nameOf('nvme2', 'db-0')],
    );
    const { status, reason, message } = condition(planned, 'Degraded');
    assert.deepEqual([status, reason], ['True', 'NameTaken']);
    assert.match(message, new RegExp(`^PersistentVolumeClaim ${name} exists and was not made .* delete it and then`));
    assert.ok(planned.againMs !== undefined, 'no watch tells when it is gone');
  }
});

test('a quota that refuses a claim is told with its pod and the remedy; the claims of other pods are still planned', () => {
  const pods = [claiming('db-0'), claiming('db-1')];
  const storage = storageOf({ status: { pods: [entryOf('db-0')] } });
  const first = plan(observe({ storage, pods }));
  const action = first.claims.find(({ podName }) => podName === 'db-1');
  assert.ok(action !== undefined);
  const said = `persistentvolumeclaims "${action.object.metadata.name}" is forbidden: exceeded quota: claims`;
  const planned = plan(observe({ storage, pods, refusedClaims: [refusedClaim(action, said)] }));
  assert.deepEqual(planned.claims.length, 3);
  const { status, reason, message } = condition(planned, 'Degraded');
  assert.deepEqual([status, reason], ['True', 'ClaimRefused']);
  const name = nameOf('nvme1', 'db-1');
  assert.equal(
    message,
    `PersistentVolumeClaim ${name} (20Gi) cannot be made, and pod db-1 waits for it. The API server says: ${said}. ` +
      "Raise the namespace's ResourceQuota, or delete claims whose data nobody needs; it is tried again by itself.",
  );
  assert.equal(
    condition(planned, 'Ready').message,
    `1 of 2 pods ready; waiting for db-1 (its claim ${name} is refused, see Degraded).`,
  );
});

test('a storage class that refuses growth is told; many refusals are one message', () => {
  const pods = [claiming('db-0'), claiming('db-1')];
  const observed = observe({ storage: sized('30Gi'), pods, claims: madeFor(pods) });
  const said = 'only dynamically provisioned pvc can be resized.';
  const refusedClaims = plan(observed).claims.map((action) => refusedClaim(action, said));
  const { reason, message } = condition(plan({ ...observed, refusedClaims }), 'Degraded');
  assert.equal(reason, 'ClaimRefused');
  assert.equal(
    message,
    `PersistentVolumeClaim ${nameOf('nvme1', 'db-0')} of pod db-0 cannot grow from 20Gi to 30Gi. The API server says: ` +
      'only dynamically provisioned pvc can be resized. Set allowVolumeExpansion: true on its storage class, if that can ' +
      'grow volumes; it is tried again by itself. Else add another volume, with URLs of its own for new collections. ' +
      `The same holds for ${nameOf('nvme2', 'db-0')}, ${nameOf('nvme1', 'db-1')}, ` +
      `${nameOf('nvme2', 'db-1')}.`,
  );
});
