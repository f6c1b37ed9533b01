import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { UrlSpec, Volume } from '../crds/walstorage.generated.ts';
import type { WalStorage } from './kubernetes.ts';
import { type Place, type PlacedPod, SharedPlaces, sharedPlaces } from './shared-places.ts';

const volumes: Volume[] = [
  { name: 'node', mountPath: '/mnt/node', hostPath: { path: '/srv/./wal/' } },
  { name: 'claim', mountPath: '/mnt/claim', persistentVolumeClaim: { claimName: 'shared', subPath: './wal//' } },
  { name: 'pod', mountPath: '/mnt/pod', podVolume: { name: 'data', subPath: 'wal' } },
  { name: 'own', mountPath: '/mnt/own', claimTemplate: { resources: { requests: { storage: '1Gi' } } } },
  { name: 'gone', mountPath: '/mnt/gone', emptyDir: {} },
];

function storage(...urls: readonly (string | UrlSpec)[]): WalStorage {
  const metadata = { name: 'orders', namespace: 'shop', uid: 'u', resourceVersion: '1' };
  return {
    metadata,
    spec: { volumes, wal: { urls: urls.map((url) => (typeof url === 'string' ? { url } : url)) } },
  };
}

function pod(namespace: string, volume: object = {}): PlacedPod {
  return { metadata: { name: 'db-0', namespace }, spec: { volumes: [{ name: 'data', ...volume }] } };
}

const claimed = { persistentVolumeClaim: { claimName: 'data-db-0' } };

for (const [what, url, volume, key] of [
  ['an object store gets namespace and pod appended', 's3://bucket/wal', {}, 's3://bucket/wal/shop/db-0'],
  ['in the one form of its scheme', 'gs://bucket//wal/${POD_NAME}/', {}, 'gcs://bucket/wal/db-0'],
  [
    'hostPath: the directory on the node, however it is spelt',
    'file:///mnt/node/a/${POD_NAME}',
    {},
    'hostPath /srv/wal/a/db-0',
  ],
  [
    'a claim: of the namespace, its subPath however it is spelt',
    'file:///mnt/claim/${POD_NAME}',
    {},
    'claim shop/shared/wal/db-0',
  ],
  ['a podVolume that is a claim', 'file:///mnt/pod/x', claimed, 'claim shop/data-db-0/wal/x'],
  ['a podVolume that is none', 'file:///mnt/pod/x', { hostPath: { path: '/srv' } }, undefined],
  ['a claimTemplate', 'file:///mnt/own/x', {}, undefined],
  ['an emptyDir', 'file:///mnt/gone/x', {}, undefined],
  ['the uid is unique, and unknown at admission', 's3://bucket/${POD_UID}/${POD_NAME}', {}, undefined],
] as const) {
  test(`the place of a URL: ${what}`, () => {
    const places = sharedPlaces(pod('shop', volume), storage(url));
    assert.deepEqual(
      places.map((place) => place.key),
      key === undefined ? [] : [key],
    );
  });
}

function keyOf(namespace: string, url: string | UrlSpec): string | undefined {
  return sharedPlaces(pod(namespace), storage(url))[0]?.key;
}

test('the place of a URL: two endpoints are two places', () => {
  const [a, b] = ['http://a', 'http://b'].map((endpoint) =>
    keyOf('shop', { url: 's3://bucket', options: { endpoint } }),
  );
  assert.equal(a, keyOf('shop', { url: 's3://bucket', options: { endpoint: 'http://a' } }));
  assert.notEqual(a, b);
});

test('what the operator appends keeps pods of two namespaces apart; ${POD_NAME} alone does not', () => {
  assert.notEqual(keyOf('shop', 's3://bucket'), keyOf('other', 's3://bucket'));
  assert.equal(keyOf('shop', 's3://bucket/${POD_NAME}'), keyOf('other', 's3://bucket/${POD_NAME}'));
});

function placeOf(key: string): Place {
  return { key, component: 'wal', url: key };
}

test('the holder of a place is as a search through all pods finds it', () => {
  const pods = ['a/x', 'a/y', 'b/x'];
  const change = fc.record({
    pod: fc.constantFrom(...pods),
    keys: fc.option(fc.uniqueArray(fc.constantFrom('1', '2', '3'))),
  });
  fc.assert(
    fc.property(fc.array(change), (changes) => {
      const index = new SharedPlaces();
      const model = new Map<string, readonly string[]>();
      for (const { pod: name, keys } of changes) {
        if (keys === null) index.delete(name);
        else index.set(name, keys.map(placeOf));
        model.set(name, keys ?? []);
      }
      for (const key of ['1', '2', '3']) {
        for (const asking of pods) {
          const holder = index.holderOf(placeOf(key), asking);
          const holders = pods.filter((name) => name !== asking && model.get(name)?.includes(key));
          assert.ok(holder === undefined ? holders.length === 0 : holders.includes(holder));
        }
      }
    }),
  );
});
