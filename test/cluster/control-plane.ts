/** A real control plane on 127.0.0.1, or in a network of its own with a node; README.md beside says what it is and is not. */
import { rmSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type AuditEvent, auditFlags, readAuditLog } from './audit.ts';
import { kubeconfigFile, makeCertificates, makeKubeconfigs, type User } from './certificates.ts';
import { Child, type RunOptions, run } from './child.ts';
import { type Enclosure, kubernetesServiceAddress, nodeAddress, serviceRange } from './enclosure.ts';
import { kubectlCommand } from './kubectl.ts';
import { type ControlPlaneProgram, programDirectory } from './programs.ts';

/** From the start of a program to its answer; it takes some 2 s on a quiet machine. */
const startTimeoutMs = 120_000;
const pollMs = 50;
/** How often other ports are tried when somebody took one between our choice and the program's bind. */
const attemptsMax = 3;
/**
 * How much garbage may lie beside what lives before Go collects it; its default is 100. The programs are held small, and the
 * processors are few: collecting took a third of the API server's time.
 */
const garbagePercent = '400';

const crdFile = fileURLToPath(new URL('../../crds/walstorage.yaml', import.meta.url));

export interface ControlPlaneOptions {
  /** Also kube-controller-manager (owner references, namespaces, service accounts) and kube-scheduler. */
  readonly withControllers: boolean;
  /** Whether the API server logs who asked it for what, for `auditEvents`. */
  readonly audit?: boolean;
  /** Runs it in there, so that a node can join; programs outside don't reach it, `kubectl()` does. */
  readonly enclosure?: Enclosure;
}

/** By name, without the dashes; files are relative to the control plane's directory. */
type Flags = Readonly<Record<string, string | number | boolean>>;

/** Those that run now: an exit hook ends them and removes what they left. */
const live = new Set<ControlPlane>();

export class ControlPlane {
  /** Temporary; everything of this control plane is in it. Removed by `stop()`. */
  readonly directory: string;
  /** Of the API server. */
  readonly port: number;
  /** `https://127.0.0.1:<port>`, or the node's address instead */
  readonly server: string;
  /** The authority of the API server's certificate. */
  readonly caFile: string;
  /** An administrator's. */
  readonly kubeconfig: string;
  /** The command that runs a fitting kubectl. */
  readonly kubectlCommand: string;
  readonly #enclosure: Enclosure | undefined;
  readonly #programs: string;
  readonly #etcdPorts: readonly [number, number];
  readonly #children = new Map<ControlPlaneProgram, Child>();
  #auditFlags: Flags = {};
  #credentials: { ca: Buffer; cert: Buffer; key: Buffer } | undefined;

  private constructor(
    directory: string,
    ports: readonly [number, number, number],
    programs: string,
    kubectl: string,
    enclosure: Enclosure | undefined,
  ) {
    this.directory = directory;
    this.#enclosure = enclosure;
    this.port = ports[0];
    this.#etcdPorts = [ports[1], ports[2]];
    this.server = `https://${this.#address}:${this.port}`;
    this.caFile = join(directory, 'ca.crt');
    this.kubeconfig = kubeconfigFile(directory, 'admin');
    this.#programs = programs;
    this.kubectlCommand = kubectl;
  }

  /** Starts one: ready when the API server is, its namespace `default` and (with controllers) a service account in it exist. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlane> {
    const needed: ControlPlaneProgram[] = ['etcd', 'kube-apiserver'];
    if (options.withControllers) needed.push('kube-controller-manager', 'kube-scheduler');
    const programs = await programDirectory(needed);
    const kubectl = await kubectlCommand();
    for (let attempt = 1; ; attempt++) {
      const directory = await mkdtemp(join(tmpdir(), 'walstorage-control-plane-'));
      const plane = new ControlPlane(directory, await freePorts(), programs, kubectl, options.enclosure);
      watch(plane);
      try {
        await plane.#start(options);
        return plane;
      } catch (error) {
        await plane.stop();
        const portTaken = error instanceof Error && error.message.includes('address already in use');
        if (!portTaken || attempt === attemptsMax) throw error;
      }
    }
  }

  get #address(): string {
    return this.#enclosure === undefined ? '127.0.0.1' : nodeAddress;
  }

  async #start(options: ControlPlaneOptions): Promise<void> {
    const [clientPort, peerPort] = this.#etcdPorts;
    const client = `http://127.0.0.1:${clientPort}`;
    const peer = `http://127.0.0.1:${peerPort}`;
    this.#spawn('etcd', {
      'data-dir': 'etcd',
      'log-level': 'warn',
      'unsafe-no-fsync': true,
      'listen-client-urls': client,
      'advertise-client-urls': client,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': `default=${peer}`,
    });
    await makeCertificates(this.directory, ['127.0.0.1', nodeAddress, kubernetesServiceAddress]);
    await makeKubeconfigs(this.directory, this.server);
    const [ca, cert, key] = await Promise.all(
      ['ca.crt', 'admin.crt', 'admin.key'].map((file) => readFile(join(this.directory, file))),
    );
    if (ca !== undefined && cert !== undefined && key !== undefined) this.#credentials = { ca, cert, key };
    if (options.audit === true) this.#auditFlags = await auditFlags(this.directory);
    await this.startApiServer();
    await this.#answers('/api/v1/namespaces/default');
    if (!options.withControllers) return;
    this.#spawn('kube-controller-manager', {
      ...this.#clientFlags('controller-manager'),
      'service-account-private-key-file': 'sa.key',
      'root-ca-file': 'ca.crt',
      'cluster-signing-cert-file': 'ca.crt',
      'cluster-signing-key-file': 'ca.key',
      'use-service-account-credentials': true,
    });
    this.#spawn('kube-scheduler', this.#clientFlags('scheduler'));
    await this.#answers('/api/v1/namespaces/default/serviceaccounts/default');
  }

  /** Flags that all clients of the API server take; no port of their own, no leader election. */
  #clientFlags(user: User): Flags {
    const file = kubeconfigFile(this.directory, user);
    return {
      kubeconfig: file,
      'authentication-kubeconfig': file,
      'authorization-kubeconfig': file,
      'leader-elect': false,
      'secure-port': 0,
    };
  }

  /** Starts the API server (again, on the same port, with what etcd holds) and waits until it is ready. */
  async startApiServer(): Promise<void> {
    this.#spawn('kube-apiserver', {
      'etcd-servers': `http://127.0.0.1:${this.#etcdPorts[0]}`,
      'bind-address': this.#enclosure === undefined ? '127.0.0.1' : '0.0.0.0',
      'advertise-address': this.#address,
      'secure-port': this.port,
      // Where there is a node, pods find the API server through the Service `kubernetes`.
      'endpoint-reconciler-type': this.#enclosure === undefined ? 'none' : 'lease',
      'cert-dir': this.directory,
      'tls-cert-file': 'apiserver.crt',
      'tls-private-key-file': 'apiserver.key',
      'client-ca-file': 'ca.crt',
      'service-account-issuer': 'https://kubernetes.default.svc',
      'service-account-key-file': 'sa.pub',
      'service-account-signing-key-file': 'sa.key',
      'authorization-mode': 'Node,RBAC',
      'enable-admission-plugins': 'NodeRestriction',
      'service-cluster-ip-range': serviceRange,
      'kubelet-client-certificate': 'admin.crt',
      'kubelet-client-key': 'admin.key',
      'kubelet-certificate-authority': 'ca.crt',
      // Nobody knows the node by name.
      'kubelet-preferred-address-types': 'InternalIP',
      ...this.#auditFlags,
    });
    await this.#answers('/readyz');
  }

  /** What the API server was asked up to now, if it was started with `audit`. */
  auditEvents(): Promise<AuditEvent[]> {
    return readAuditLog(this.directory);
  }

  /** Ends the API server alone, as a crash does; etcd keeps what it held. */
  async stopApiServer(): Promise<void> {
    await this.#children.get('kube-apiserver')?.kill();
  }

  /** Ends all its programs and removes its directory. Does nothing the second time. */
  async stop(): Promise<void> {
    await Promise.all([...this.#children.values()].map((child) => child.kill()));
    this.kill();
  }

  /** As `stop()`, without waiting: for an exit hook. */
  kill(): void {
    for (const child of this.#children.values()) child.signal('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
    live.delete(this);
  }

  /**
   * Runs kubectl as the administrator.
   * @param options `input` is its standard input, for `-f -`
   * @returns its standard output
   * @throws CommandError with what it wrote to standard error
   */
  kubectl(args: readonly string[], options: Pick<RunOptions, 'input'> = {}): Promise<string> {
    const common = ['--kubeconfig', this.kubeconfig, '--cache-dir', join(this.directory, 'kubectl')];
    return this.run(this.kubectlCommand, [...common, ...args], options);
  }

  /** Runs a program where it reaches the API server; else as `run` does. */
  run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    return run(...this.#entering(command, args), options);
  }

  /** The command and its arguments, so that it runs in the enclosure's network where there is one. */
  #entering(command: string, args: readonly string[]): [string, readonly string[]] {
    return this.#enclosure?.inNetwork(command, args) ?? [command, args];
  }

  /** Applies objects given as JavaScript values, in order. */
  async apply(...objects: readonly object[]): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], {
      input: objects.map((object) => JSON.stringify(object)).join('\n---\n'),
    });
  }

  /** Creates our CRD and waits until its resource is served. */
  async installCrd(): Promise<void> {
    await this.kubectl(['create', '-f', crdFile]);
    // `kubectl wait` fails while the status is still empty; besides, discovery follows the condition after a moment.
    const deadlineMs = performance.now() + startTimeoutMs;
    for (;;) {
      const served = await this.kubectl(['get', 'walstorages']).catch((error: unknown) => {
        if (performance.now() > deadlineMs) throw error;
        return undefined;
      });
      if (served !== undefined) return;
      await setTimeout(pollMs);
    }
  }

  /**
   * A token of a service account, as a pod's projected volume holds one.
   * @param options `boundPod`: the token dies with this pod, which must exist and run under that service account;
   * `seconds`: it is valid so long, an hour by default
   */
  async createServiceAccountToken(
    namespace: string,
    serviceAccount: string,
    options: { readonly boundPod?: { readonly name: string; readonly uid: string }; readonly seconds?: number } = {},
  ): Promise<string> {
    const { boundPod, seconds = 3600 } = options;
    const bound =
      boundPod === undefined
        ? []
        : ['--bound-object-kind=Pod', `--bound-object-name=${boundPod.name}`, `--bound-object-uid=${boundPod.uid}`];
    const wanted = ['create', 'token', serviceAccount, '-n', namespace, `--duration=${seconds}s`];
    return (await this.kubectl([...wanted, ...bound])).trim();
  }

  #spawn(name: ControlPlaneProgram, flags: Flags): void {
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
    const [program, words] = this.#entering(join(this.#programs, name), args);
    const environment = { ...process.env, GOGC: garbagePercent };
    const options = { logFile: join(this.directory, `${name}.log`), directory: this.directory, environment };
    this.#children.set(name, new Child(name, program, words, options));
  }

  /** Waits until the API server answers the path with 200. */
  async #answers(path: string): Promise<void> {
    const deadlineMs = performance.now() + startTimeoutMs;
    for (;;) {
      if (await this.#isAnswered(path)) return;
      const dead = [...this.#children.values()].find((child) => !child.running);
      const tooLate = performance.now() > deadlineMs;
      if (dead !== undefined || tooLate) {
        const child = dead ?? this.#children.get('kube-apiserver');
        const what = dead === undefined ? `did not answer ${path} in ${startTimeoutMs / 1000} s` : 'ended';
        throw new Error(`${child?.name} ${what}:\n${child?.lastLines()}`);
      }
      await setTimeout(pollMs);
    }
  }

  async #isAnswered(path: string): Promise<boolean> {
    if (this.#enclosure !== undefined) {
      return this.kubectl(['get', '--raw', path]).then(
        () => true,
        () => false,
      );
    }
    return new Promise((resolve) => {
      const asked = request(`${this.server}${path}`, { ...this.#credentials, agent: false, timeout: 2_000 });
      asked.on('response', (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      });
      asked.on('timeout', () => asked.destroy());
      asked.on('error', () => resolve(false));
      asked.end();
    });
  }
}

/** Three ports of 127.0.0.1 that nobody listens on, below those that the system gives to outgoing connections. */
async function freePorts(): Promise<readonly [number, number, number]> {
  return [await freePort(), await freePort(), await freePort()];
}

/** A port of 127.0.0.1 that nobody listens on now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 16_000 + Math.floor(Math.random() * 16_000);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

function watch(plane: ControlPlane): void {
  if (live.size === 0) {
    process.removeListener('exit', killAll);
    process.on('exit', killAll);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.removeListener(signal, exitOnSignal);
      // First, so that it still sees listeners that are there for one signal only.
      process.prependListener(signal, exitOnSignal);
    }
  }
  live.add(plane);
}

function killAll(): void {
  for (const plane of live) plane.kill();
}

/** A signal would end the process without its exit hooks; whoever handles the signal too decides instead. */
function exitOnSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) === 1) process.exit(1);
}
