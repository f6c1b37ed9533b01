import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodStatus, StatusCondition, WalStorageSpec } from '../crds/walstorage.generated.ts';
import type { Pod } from './kubernetes.ts';
import { condition, entryOf, observe, podOf, spec, storageOf } from './plan.fixture.ts';
import { plan } from './plan.ts';

function degradedOf(pods: Pod[], entries: PodStatus[] = [], given: WalStorageSpec = spec): StatusCondition {
  return condition(plan(observe({ pods, storage: storageOf({ spec: given, status: { pods: entries } }) })), 'Degraded');
}

test('SidecarMissing: pods that bear the label but were not injected are named, with what to do', () => {
  const pods = [podOf('db-0', { hasSidecar: false }), podOf('db-1'), podOf('db-2', { hasSidecar: false })];
  const { status, reason, message } = degradedOf(pods, [entryOf('db-1')]);
  assert.deepEqual([status, reason], ['True', 'SidecarMissing']);
  assert.equal(
    message,
    "2 pods without the sidecar: db-0, db-2. Made before the operator's webhook was there, or before the label was on " +
      "the pod's template: delete them, so that they are made anew with it.",
  );
});

test('SidecarMissing: a pod that reports has a sidecar of its own, one that ends needs none any more', () => {
  const pods = [
    podOf('by-hand', { hasSidecar: false }),
    podOf('done', { hasSidecar: false, phase: 'Succeeded' }),
    podOf('going', { hasSidecar: false, isBeingDeleted: true }),
  ];
  assert.equal(degradedOf(pods, [entryOf('by-hand')]).status, 'False');
});

test('what a sidecar says of a URL that fails is told word for word; Pending and Recovering are no faults', () => {
  const url = 'file:///mnt/nvme1/wal';
  const rows = (['Full', 'Pending', 'Recovering'] as const).map((state) => ({ url, state, reason: `it is ${state}.` }));
  const { reason, message } = degradedOf([podOf('db-0')], [entryOf('db-0', { urls: rows })]);
  assert.deepEqual([reason, message], ['UrlsNotAvailable', `${url} in pod db-0 is Full (it is Full).`]);
});

test('UrlsNotAvailable: what fails for the same reason in several pods is told once, with their names', () => {
  const url = 's3://bucket/${POD_NAME}';
  const failing = (reason: string) => ({ urls: [{ url, state: 'Unavailable' as const, reason }] });
  const entries = ['db-0', 'db-1'].map((name) => entryOf(name, failing('the Secret is missing')));
  const pods = ['db-0', 'db-1', 'db-2'].map((name) => podOf(name));
  assert.equal(
    degradedOf(pods, [...entries, entryOf('db-2', failing('no route'))]).message,
    `${url} in pods db-0, db-1 is Unavailable (the Secret is missing), ${url} in pod db-2 is Unavailable (no route).`,
  );
});

test('ConfigRefused: sidecars that keep the old configuration are named with the reason, once for all of the same', () => {
  const configError = 'storage.wal_config.wal_urls: "x" is no URL\nstorage.wal_config.sync_mode: "y" is unknown.\n';
  const entries = ['db-0', 'db-1'].map((name) => entryOf(name, { configError }));
  const { status, reason, message } = degradedOf([podOf('db-0'), podOf('db-1')], entries);
  assert.deepEqual([status, reason], ['True', 'ConfigRefused']);
  assert.equal(
    message,
    '2 sidecars refused the newest configuration, and the old one stays in force there. db-0, db-1: ' +
      'storage.wal_config.wal_urls: "x" is no URL; storage.wal_config.sync_mode: "y" is unknown.',
  );
});

const own: WalStorageSpec = {
  volumes: [{ name: 'data', mountPath: '/mnt/data', podVolume: { name: 'shared' } }],
  wal: { urls: [{ url: 'file:///mnt/data/wal' }] },
};

test('UrlsShared: pods whose podVolume is one claim would write into one another', () => {
  const claim = [{ name: 'shared', persistentVolumeClaim: { claimName: 'one' } }];
  const { status, reason, message } = degradedOf(
    [podOf('db-0', { volumes: claim }), podOf('db-1', { volumes: claim })],
    [],
    own,
  );
  assert.deepEqual([status, reason], ['True', 'UrlsShared']);
  assert.equal(
    message,
    'file:///mnt/data/wal is one and the same place in pods db-0, db-1. Write ${POD_NAME} into the URL, or give ' +
      'each pod a volume of its own (volumeClaimTemplates).',
  );
});

function withOwnClaim(name: string): Pod {
  return podOf(name, { volumes: [{ name: 'shared', persistentVolumeClaim: { claimName: `of-${name}` } }] });
}

test('UrlsShared: not with ${POD_NAME} in the URL, claims of their own, or a pod that is on its way out', () => {
  const shared = [{ name: 'shared', persistentVolumeClaim: { claimName: 'one' } }];
  const apart = { ...own, wal: { urls: [{ url: 'file:///mnt/data/${POD_NAME}/wal' }] } };
  const both = [podOf('db-0', { volumes: shared }), podOf('db-1', { volumes: shared })];
  assert.equal(degradedOf(both, [], apart).status, 'False');
  assert.equal(degradedOf([withOwnClaim('db-0'), withOwnClaim('db-1')], [], own).status, 'False');
  const going = podOf('db-1', { volumes: shared, isBeingDeleted: true });
  assert.equal(degradedOf([podOf('db-0', { volumes: shared }), going], [], own).status, 'False');
});

test('several problems: the most urgent gives the reason, each has its sentence', () => {
  const full = entryOf('db-1', { urls: [{ url: 'file:///mnt/nvme1/wal', state: 'Full' }] });
  const { reason, message } = degradedOf([podOf('db-0', { hasSidecar: false }), podOf('db-1')], [full]);
  assert.equal(reason, 'SidecarMissing');
  assert.match(message, /^1 pod without the sidecar: db-0\. .* file:\/\/\/mnt\/nvme1\/wal in pod db-1 is Full\.$/);
});

test('Ready says of a pod that it has no sidecar', () => {
  const planned = plan(observe({ pods: [podOf('db-0', { hasSidecar: false })] }));
  assert.equal(
    condition(planned, 'Ready').message,
    '0 of 1 pod ready; waiting for db-0 (it has no sidecar, see Degraded).',
  );
});

test('R5 a message has at most 8 KiB, whatever the sidecars say', () => {
  const reason = 'ä'.repeat(3000);
  const urls = ['file:///mnt/nvme1/wal', 'file:///mnt/nvme2/wal'].map((url) => ({
    url,
    state: 'Full' as const,
    reason,
  }));
  const { message } = degradedOf([podOf('db-0')], [entryOf('db-0', { urls })]);
  assert.equal(Buffer.byteLength(message), 8_192);
  assert.match(message, /ä…$/);
});
