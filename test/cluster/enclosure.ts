/**
 * Namespaces of a test's own, of network, mounts and processes, and a control group: what a cluster with a node runs in. Two of
 * them never meet, nothing leaves the machine, and the kernel removes every process, mount, interface and rule when the test
 * ends, however it ends.
 *
 *     test process ── pipe ──► first process of the namespaces: ends when the pipe does, and everything in there with it
 *          │ nsenter
 *          ├──► etcd, API server, kubectl, …     (network)
 *          └──► containerd, kubelet, containers  (network, mounts, processes)
 *
 * Control groups and directories have no owner that the kernel knows: those of test processes that died are removed when the
 * next enclosure is made.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Cgroup, cgroupNames } from './cgroup.ts';
import { CommandError, run } from './child.ts';

/** The bridge's address: pods reach the node, and the programs that run on it, there. */
export const nodeAddress = '10.244.0.1';
export const podRange = '10.244.0.0/24';
export const serviceRange = '10.0.0.0/24';
/** Of the Service `kubernetes`: always the first of the range. */
export const kubernetesServiceAddress = '10.0.0.1';

/** Directories of the machine that a node writes to at fixed paths: it gets empty ones of its own. */
const ownDirectories = ['/run', '/var/lib', '/var/log'];

const prefix = 'walstorage-node-';

/** What the first process does. The number that it prints is its own outside, read before /proc is replaced. */
const firstProcess = `
set -e
read -r pid rest </proc/self/stat
mount -t proc proc /proc
mount --make-rshared /
for directory in ${ownDirectories.join(' ')}; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
ip link set lo up
ip link add cni0 type bridge
ip address add ${nodeAddress}/24 dev cni0
ip link set cni0 up
# So that programs in here reach Services: the address is rewritten before a packet leaves.
ip route add ${serviceRange} dev cni0
echo 1 >/proc/sys/net/ipv4/ip_forward
# The kernel reaps what is left to us.
trap '' CHLD
echo "$pid"
exec cat
`;

export class Enclosure {
  /** Temporary, for everything that is written; the same path inside and outside. Removed by `stop()`. */
  readonly directory: string;
  readonly cgroup: Cgroup;
  readonly #unshare: ChildProcess;
  readonly #pid: number;

  private constructor(directory: string, cgroup: Cgroup, unshare: ChildProcess, pid: number) {
    this.directory = directory;
    this.cgroup = cgroup;
    this.#unshare = unshare;
    this.#pid = pid;
  }

  /** Makes one. Needs root who may mount. */
  static async make(): Promise<Enclosure> {
    await removeStale();
    const directory = await mkdtemp(join(tmpdir(), `${prefix}${ownerMark()}-`));
    const cgroup = await Cgroup.make(directory.slice(directory.lastIndexOf('/') + 1));
    const flags = ['--net', '--mount', '--pid', '--fork', '--kill-child'];
    const unshare = spawn('unshare', [...flags, 'sh', '-c', firstProcess], { stdio: 'pipe', detached: true });
    const complaint = text(unshare.stderr);
    const said = await Promise.race([once(unshare.stdout.setEncoding('utf8'), 'data'), once(unshare, 'exit')]);
    const pid = Number(said[0]);
    if (unshare.exitCode !== null || !Number.isInteger(pid)) {
      throw new CommandError('a network of its own could not be made', await complaint);
    }
    return new Enclosure(directory, cgroup, unshare, pid);
  }

  /** A command and its arguments, so that it runs in the network alone: it sees all files and processes. */
  inNetwork(command: string, args: readonly string[]): [string, readonly string[]] {
    return ['nsenter', [`--target=${this.#pid}`, '--net', '--', command, ...args]];
  }

  /** A command and its arguments, so that it runs in here altogether. The kernel ends it with nsenter. */
  inside(command: string, args: readonly string[]): [string, readonly string[]] {
    const entering = [`--target=${this.#pid}`, '--net', '--mount', '--pid', '--'];
    return ['nsenter', [...entering, 'setpriv', '--pdeathsig', 'KILL', '--', command, ...args]];
  }

  /** Runs a command in here to its end; resolves with its standard output. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    return run(...this.inside(command, args));
  }

  /** A directory in here, made. */
  async makeDirectory(...names: readonly string[]): Promise<string> {
    const path = join(this.directory, ...names);
    await mkdir(path, { recursive: true });
    return path;
  }

  /** Ends every process in here, and removes everything. */
  async stop(): Promise<void> {
    if (this.#unshare.exitCode === null) {
      const ended = once(this.#unshare, 'exit');
      this.#unshare.stdin?.end();
      await ended;
    }
    await this.cgroup.remove();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Tells this process from others, before and after it, that have its number. */
function ownerMark(): string {
  return `${process.pid}-${startOf(process.pid)}`;
}

/** When a process was started, in ticks since the machine was; undefined where there is none. */
function startOf(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the start is the 20th field after it.
    return line.slice(line.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Whether the test process that made this directory or control group has died. */
function isStale(name: string): boolean {
  const mark = new RegExp(`^${prefix}(\\d+)-(\\d+)-`).exec(name);
  return mark !== null && startOf(Number(mark[1])) !== mark[2];
}

async function removeStale(): Promise<void> {
  for (const name of (await cgroupNames()).filter(isStale)) await new Cgroup(name).remove();
  for (const name of (await readdir(tmpdir())).filter(isStale)) {
    await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}
