/**
 * Whether a directory lies on a file system that other machines may have mounted, too. There the lock of one writer (E28) is
 * no proof: over a network it may be kept by a client that is gone, lost at a reconnect, or seen by one machine alone.
 *
 * `statfs` tells the type by a number. Everything that a process in user space serves bears the number of FUSE, be it a
 * local disk or an object store: there /proc/self/mountinfo has the name. What neither knows is taken for local, as
 * refusing it would refuse every new local file system. Cluster file systems on shared block devices (GFS2, OCFS2) keep
 * locks among their machines, and are not refused.
 */
import { readFile, statfs } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { parentOf } from './filesystem.ts';

/** By the number that `statfs` tells (linux/magic.h, and the file systems' own sources). */
const networkTypes: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x01021997, '9p'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'AFS'],
  [0x73757245, 'Coda'],
  [0x47504653, 'GPFS'],
  [0x19830326, 'BeeGFS'],
  [0xaad7aaea, 'PanFS'],
  [0x20030528, 'OrangeFS'],
  [0x786f4256, 'VirtualBox'],
]);

const fuseType = 0x65735546;
/** Of FUSE, by the name in mountinfo: `fuse.<name>`, or the name alone. */
const networkFuseNames: ReadonlySet<string> = new Set([
  'glusterfs',
  'ceph',
  'ceph-fuse',
  'sshfs',
  's3fs',
  'mount-s3',
  'gcsfuse',
  'blobfuse',
  'blobfuse2',
  'rclone',
  'juicefs',
  'goofys',
  'moosefs',
  'mfs',
  'seaweedfs',
  'virtiofs',
]);

export interface FileSystemCalls {
  /** The number of the type of the file system that holds the path; rejects with `ENOENT` where there is nothing. */
  readonly typeOf: (path: string) => Promise<number>;
  /** The text of /proc/self/mountinfo; empty where there is none. */
  readonly mounts: () => Promise<string>;
}

const systemCalls: FileSystemCalls = {
  typeOf: async (path) => (await statfs(path)).type,
  mounts: () => readFile('/proc/self/mountinfo', 'utf8').catch(() => ''),
};

/** The name of the network file system that holds the directory, which need not be there yet; undefined: none is known. */
export async function networkFileSystemOf(directory: string, calls = systemCalls): Promise<string | undefined> {
  const type = await typeOfNearest(directory, calls);
  if (type !== fuseType) return networkTypes.get(type);
  const name = nameInMounts(directory, await calls.mounts());
  return networkFuseNames.has(name) ? name : undefined;
}

/** Of the directory, or of the nearest one above that is there. */
async function typeOfNearest(directory: string, calls: FileSystemCalls): Promise<number> {
  try {
    // It is a signed number where the system's word is one.
    return (await calls.typeOf(directory)) >>> 0;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || directory === '/') throw error;
    return await typeOfNearest(parentOf(directory), calls);
  }
}

/** The name of the file system of the last mount around the directory, without `fuse.`; empty where mountinfo has none. */
function nameInMounts(directory: string, mountinfo: string): string {
  let found = { point: '', name: '' };
  for (const line of mountinfo.split('\n')) {
    // 36 35 98:0 /root /mount/point options … - type source options
    const [before = '', after = ''] = line.split(' - ');
    const point = unescaped(before.split(' ')[4] ?? '');
    const isAround = point === '/' || directory === point || directory.startsWith(`${point}/`);
    if (point === '' || !isAround || point.length < found.point.length) continue;
    found = { point, name: after.split(' ')[0]?.replace(/^fuse\./, '') ?? '' };
  }
  return found.name;
}

/** Spaces and the like stand there in octal. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
