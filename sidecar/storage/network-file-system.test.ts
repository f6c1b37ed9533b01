import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemError } from './filesystem.ts';
import { type FileSystemCalls, networkFileSystemOf } from './network-file-system.ts';

const fuse = 0x65735546;
const ext4 = 0xef53;

function calls(type: number, mounts = ''): FileSystemCalls {
  return { typeOf: async () => type, mounts: async () => mounts };
}

test('network file systems are known by the number of their type, signed or not', async () => {
  const cases: readonly (readonly [number, string | undefined])[] = [
    [0x6969, 'NFS'],
    [0xff534d42, 'CIFS'],
    [0xff534d42 | 0, 'CIFS'],
    [0xfe534d42, 'SMB2'],
    [0x00c36400, 'Ceph'],
    [0x0bd00bd0, 'Lustre'],
    [0x01021997, '9p'],
    [ext4, undefined],
    [0x58465342, undefined],
    [0x9123683e, undefined],
    [0x01021994, undefined],
    [0x794c7630, undefined],
    [0x01161970, undefined],
  ];
  for (const [type, name] of cases)
    assert.equal(await networkFileSystemOf('/mnt/a/wal', calls(type)), name, type.toString(16));
});

test('of FUSE only what mountinfo names as a network’s is one: of the innermost mount, the last one there', async () => {
  const mounts = [
    '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    '40 22 0:40 / /mnt rw - fuse.glusterfs gluster:/volume rw',
    '41 40 0:41 / /mnt/local rw - fuse.ntfs-3g /dev/sdb rw',
    '42 40 0:42 / /mnt/with\\040space rw - fuse.sshfs host: rw',
    '43 40 0:43 / /mnt/twice rw - fuse.s3fs bucket rw',
    '44 43 0:44 / /mnt/twice rw - fuseblk /dev/sdc rw',
    '45 40 0:45 / /mnt/share rw - virtiofs tag rw',
    '',
  ].join('\n');
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['/mnt/wal', 'glusterfs'],
    ['/mnt', 'glusterfs'],
    ['/mntx/wal', undefined],
    ['/mnt/local/wal', undefined],
    ['/mnt/with space/wal', 'sshfs'],
    ['/mnt/twice/wal', undefined],
    ['/mnt/share/wal', 'virtiofs'],
  ];
  for (const [path, name] of cases) assert.equal(await networkFileSystemOf(path, calls(fuse, mounts)), name, path);
  assert.equal(await networkFileSystemOf('/mnt/wal', calls(fuse)), undefined);
});

test('a directory that is not there yet lies where the nearest one above lies; other errors are told', async () => {
  const asked: string[] = [];
  const typeOf = async (path: string): Promise<number> => {
    asked.push(path);
    if (path === '/mnt/nfs') return 0x6969;
    throw systemError(path === '/mnt/broken' ? 'EIO' : 'ENOENT', 'statfs', path);
  };
  const nearest: FileSystemCalls = { typeOf, mounts: async () => '' };
  assert.equal(await networkFileSystemOf('/mnt/nfs/a/wal', nearest), 'NFS');
  assert.deepEqual(asked, ['/mnt/nfs/a/wal', '/mnt/nfs/a', '/mnt/nfs']);
  await assert.rejects(networkFileSystemOf('/mnt/broken', nearest), { code: 'EIO' });
  await assert.rejects(networkFileSystemOf('/absent', nearest), { code: 'ENOENT' });
});

test('the directory of temporary files of this machine lies on no network', async () => {
  assert.equal(await networkFileSystemOf(join(tmpdir(), 'not', 'there')), undefined);
});
