/**
 * What a person gets from a cluster, on this machine alone: the operator and one sidecar as processes, on a real API server.
 *
 *     examples/walstorage.yaml ─► API server ◄─► operator process
 *                                     │ ConfigMap ─► a file         (what the kubelet does in a pod)
 *                                     ▲ status
 *                                 sidecar process: environment, token and mounts of the pod proximadb-0
 *
 * The pod exists in the API only, without a node, so that it stays Pending; its token is real, and bound to it. The example's
 * mountPaths lie under a temporary directory.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createClient } from 'redis';
import { parse } from 'yaml';
import type { WalStorage } from '../../crds/walstorage.generated.ts';
import { sidecarName } from '../../operator/injection/names.ts';
import { Child } from './child.ts';
import { ControlPlane, freePort } from './control-plane.ts';

const command = fileURLToPath(new URL('../../sidecar/cli/main.ts', import.meta.url));
const exampleFile = fileURLToPath(new URL('../../examples/walstorage.yaml', import.meta.url));

const namespace = 'default';
const podName = 'proximadb-0';
const serviceAccount = 'proximadb';
const waitMs = 60_000;
const pollMs = 50;
/** E24: a shutdown flushes only what fits in a second. */
const endMs = 10_000;
/** There is no kubelet that would renew the token. */
const tokenSeconds = 24 * 3600;

export class LocalCluster {
  readonly controlPlane: ControlPlane;
  /** The example as it was applied: its mountPaths lie under a temporary directory. */
  readonly storage: WalStorage;
  /** Everything of the pod: `config/walstorage.toml`, `token/`, `mnt/`, `wal.sock`, the logs. Removed by `stop()`. */
  readonly directory: string;
  readonly socket: string;
  /** Where the sidecar serves HTTP. */
  readonly http: string;
  /** Set once the pod exists. */
  podUid = '';
  readonly #children = new Map<'operator' | 'sidecar', Child>();

  private constructor(controlPlane: ControlPlane, directory: string, storage: WalStorage, http: string) {
    this.controlPlane = controlPlane;
    this.directory = directory;
    this.storage = storage;
    this.socket = join(directory, 'wal.sock');
    this.http = http;
  }

  /**
   * Starts it all: ready when the sidecar serves its socket.
   * @param report is told of each step
   */
  static async start(report: (step: string) => void = () => undefined): Promise<LocalCluster> {
    report('Starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler');
    const controlPlane = await ControlPlane.start({ withControllers: true });
    try {
      await controlPlane.installCrd();
      const directory = join(controlPlane.directory, 'pod');
      const storage = await exampleUnder(directory);
      const cluster = new LocalCluster(controlPlane, directory, storage, `127.0.0.1:${await freePort()}`);
      try {
        await cluster.#start(report);
        return cluster;
      } catch (error) {
        await cluster.stop();
        throw error;
      }
    } catch (error) {
      await controlPlane.stop();
      throw error;
    }
  }

  get name(): string {
    return this.storage.metadata.name ?? '';
  }

  async #start(report: (step: string) => void): Promise<void> {
    report('Starting the operator, and applying examples/walstorage.yaml');
    const operatorFlags = ['--kubeconfig', this.controlPlane.kubeconfig, '--http', '127.0.0.1:0'];
    this.#spawn('operator', [command, 'operator', ...operatorFlags], process.env);
    await this.controlPlane.apply(this.storage);
    await this.#createPod();
    report('Starting the sidecar with the ConfigMap that the operator rendered');
    await mkdir(join(this.directory, 'config'));
    await this.mountConfiguration();
    await this.startSidecar();
  }

  /** Does what the kubelet does in a pod: the file is what the ConfigMap is now. */
  async mountConfiguration(): Promise<void> {
    const text = await this.#rendered();
    await writeFile(`${this.configFile}.new`, text);
    await rename(`${this.configFile}.new`, this.configFile);
  }

  get configFile(): string {
    return join(this.directory, 'config', 'walstorage.toml');
  }

  /** Starts the sidecar (again): ready when it serves its socket. */
  async startSidecar(): Promise<void> {
    const mounts = (this.storage.spec.volumes ?? []).map(({ mountPath }) => mountPath);
    this.#spawn('sidecar', [command, 'sidecar'], {
      ...process.env,
      WALSTORAGE_CONFIG: this.configFile,
      WALSTORAGE_SOCKET: this.socket,
      WALSTORAGE_HTTP: this.http,
      WALSTORAGE_NAME: this.name,
      WALSTORAGE_MOUNTS: mounts.join(':'),
      WALSTORAGE_TOKEN_DIR: join(this.directory, 'token'),
      POD_NAME: podName,
      POD_NAMESPACE: namespace,
      POD_UID: this.podUid,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(this.controlPlane.port),
    });
    await this.#until('the sidecar serves its socket', async () => (await connects(this.socket)) || undefined);
  }

  /** The sidecar's process: for tests that signal it. */
  get sidecar(): Child | undefined {
    return this.#children.get('sidecar');
  }

  /** Resolves with the name and the last lines of the first process that ends by itself. */
  async somethingEnded(): Promise<string> {
    const ended = [...this.#children.values()].map(async (child) => {
      await child.ended;
      return `the ${child.name} has ended:\n${child.lastLines()}`;
    });
    return Promise.race(ended);
  }

  /** Ends everything, the sidecar in good order first, and removes the directory. */
  async stop(): Promise<void> {
    await this.#children.get('sidecar')?.end(endMs);
    await this.#children.get('operator')?.end(endMs);
    await this.controlPlane.stop();
  }

  /** Appends `entries` entries of `payloadBytes` to each collection, as one batch each, all at once. */
  async append(collections: readonly string[], entries: number, payloadBytes: number): Promise<void> {
    const payload = Buffer.alloc(payloadBytes, 'x');
    const batch = Array.from({ length: entries }, (_, index) => ['INSERT', `key${index}`, payload]).flat();
    await this.#send(collections.map((name) => ['WAL.APPEND', name, '*', ...batch]));
  }

  /** The sum of a field of `WAL.STAT` over collections. */
  async sum(field: 'bytes' | 'entries', collections: readonly string[]): Promise<number> {
    const replies = await this.#send(collections.map((name) => ['WAL.STAT', name]));
    return replies.reduce((total: number, reply) => {
      const flat: readonly unknown[] = Array.isArray(reply) ? reply : [];
      return total + Number(flat[flat.indexOf(field) + 1]);
    }, 0);
  }

  /** The replies to commands sent at once over one connection of RESP2. */
  async #send(commands: readonly (readonly (string | Buffer)[])[]): Promise<unknown[]> {
    const client = createClient({ socket: { path: this.socket, tls: false }, RESP: 2 });
    await client.connect();
    try {
      return await Promise.all(commands.map(async (words) => client.sendCommand([...words])));
    } finally {
      client.destroy();
    }
  }

  /** The WalStorage as the API server has it. */
  async read(): Promise<WalStorage> {
    return JSON.parse(await this.controlPlane.kubectl(['get', 'walstorage', this.name, '-o', 'json']));
  }

  /** Waits until the status is as wanted; rejects in a minute, with the last status. */
  async status(what: string, wanted: (storage: WalStorage) => boolean): Promise<WalStorage> {
    let last: WalStorage | undefined;
    const look = async (): Promise<WalStorage | undefined> => {
      last = await this.read();
      return wanted(last) ? last : undefined;
    };
    return this.#until(what, look).catch((error: unknown) => {
      throw new Error(`the last status is ${JSON.stringify(last?.status)}`, { cause: error });
    });
  }

  async #createPod(): Promise<void> {
    const spec = {
      serviceAccountName: serviceAccount,
      // As the webhook would have added it: a pod that lacks it is reported.
      initContainers: [{ name: sidecarName, image: 'walstorage', restartPolicy: 'Always' }],
      containers: [{ name: 'proximadb', image: 'proximadb/proximadb' }],
    };
    await this.controlPlane.apply(
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: serviceAccount, namespace } },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: podName, namespace, labels: { 'wal.proximadb.io/storage': this.name } },
        spec,
      },
    );
    this.podUid = await this.controlPlane.kubectl(['get', 'pod', podName, '-o', 'jsonpath={.metadata.uid}']);
    const token = await this.controlPlane.createServiceAccountToken(namespace, serviceAccount, {
      boundPod: { name: podName, uid: this.podUid },
      seconds: tokenSeconds,
    });
    const tokenDirectory = join(this.directory, 'token');
    await mkdir(tokenDirectory);
    await writeFile(join(tokenDirectory, 'token'), token, { mode: 0o600 });
    await writeFile(join(tokenDirectory, 'ca.crt'), await readFile(this.controlPlane.caFile));
  }

  /** The configuration file that the operator rendered, and the right to report. */
  async #rendered(): Promise<string> {
    const name = `${this.name}-walstorage`;
    const get = async (kind: string, path: string) =>
      this.controlPlane.kubectl(['get', kind, name, '--ignore-not-found', '-o', `jsonpath=${path}`]);
    const subject = async () =>
      (await get('rolebinding', '{.subjects[*].name}')) === serviceAccount ? true : undefined;
    await this.#until('the operator binds the Role to the service account of the pod', subject);
    const text = async () => (await get('configmap', '{.data.walstorage\\.toml}')) || undefined;
    return this.#until('the operator renders the ConfigMap', text);
  }

  #spawn(name: 'operator' | 'sidecar', args: readonly string[], environment: NodeJS.ProcessEnv): void {
    const logFile = join(this.directory, `${name}.log`);
    this.#children.set(name, new Child(name, process.execPath, args, { logFile, environment }));
  }

  async #until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const deadlineMs = performance.now() + waitMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      const dead = [...this.#children.values()].find((child) => !child.running);
      if (dead !== undefined)
        throw new Error(`waiting until ${what}: the ${dead.name} has ended:\n${dead.lastLines()}`);
      if (performance.now() > deadlineMs) throw new Error(`in ${waitMs / 1000} s it never came to this: ${what}`);
      await setTimeout(pollMs);
    }
  }
}

/** The example with its mountPaths, and the URLs below them, under the directory; the mounts are made. */
async function exampleUnder(directory: string): Promise<WalStorage> {
  const storage: WalStorage = parse(await readFile(exampleFile, 'utf8'));
  const moved = (path: string) => path.replace(/^(file:\/\/)?(?=\/)/, `$1${directory}`);
  for (const volume of storage.spec.volumes ?? []) {
    volume.mountPath = moved(volume.mountPath);
    await mkdir(volume.mountPath, { recursive: true });
  }
  for (const entry of storage.spec.wal.urls) entry.url = moved(entry.url);
  storage.metadata.namespace = namespace;
  return storage;
}

/** Whether something accepts connections on the Unix socket. */
async function connects(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
