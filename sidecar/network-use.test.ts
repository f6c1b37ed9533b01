import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseNetwork } from './network-use.ts';

const url = 'file:///mnt/nfs/wal';
const silent = { warn: () => undefined };
const onNfs = async (path: string): Promise<string | undefined> => (path.startsWith('/mnt/nfs/') ? 'NFS' : undefined);

test('E28 in a pod a WAL URL on a network file system is refused, with the remedy', async () => {
  const options = { environment: { WALSTORAGE_MOUNTS: '/mnt/nfs:/mnt/disk' }, logger: silent, networkOf: onNfs };
  await assert.rejects(refuseNetwork(url, options), {
    code: 'UNAVAILABLE',
    message:
      'file:///mnt/nfs/wal lies on a network file system (NFS), where the lock that keeps a second writer out cannot be relied on: use a volume on a disk, or a claimTemplate with accessModes: [ReadWriteOncePod]',
  });
  await refuseNetwork('file:///mnt/disk/wal', options);
});

test('E28 not where the claim is ReadWriteOncePod', async () => {
  const environment = { WALSTORAGE_MOUNTS: '/mnt/nfs', WALSTORAGE_EXCLUSIVE_MOUNTS: '/mnt/nfs' };
  await refuseNetwork(url, { environment, logger: silent, networkOf: onNfs });
});

test('E28 outside a pod it is used, with a warning', async () => {
  const warnings: unknown[] = [];
  const logger = { warn: (...line: unknown[]) => void warnings.push(line) };
  await refuseNetwork(url, { environment: {}, logger, networkOf: onNfs });
  await refuseNetwork('file:///mnt/disk/wal', { environment: {}, logger, networkOf: onNfs });
  assert.equal(warnings.length, 1);
  assert.match(JSON.stringify(warnings), /NFS.*make sure that no other machine uses it/);
});
