/**
 * An operator of this process against a real API server, and the API as a test sees it: what it reads, what it does in a
 * user's or a sidecar's place, and a proxy in between whose connections can be cut.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import pino from 'pino';
import type { PodStatus, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { ApiClient, ApiError } from '../operator/client.ts';
import { sidecarName } from '../operator/injection/names.ts';
import {
  apiVersion,
  asList,
  asObject,
  collectionPath,
  type KubernetesObject,
  objectPath,
  type Pod,
  pods,
  type Resource,
  storageLabel,
  type WalStorage,
  walStorages,
} from '../operator/kubernetes.ts';
import { Operator } from '../operator/operator.ts';
import type { ControlPlane } from './cluster/control-plane.ts';

const waitMs = 30_000;
const pollMs = 25;

/** Resolves with what `look` gives once it is defined; rejects in half a minute with what it was waited for. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const endMs = performance.now() + waitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > endMs) throw new Error(`in ${waitMs} ms it never came to this: ${what}`);
    await sleep(pollMs);
  }
}

/** A client that counts what it writes, and can be made to fail. */
class WatchedClient extends ApiClient {
  writes = 0;
  /** So many writes from now on fail as if the server had said so. */
  failures = 0;

  override apply(path: string, fieldManager: string, object: object, signal: AbortSignal): Promise<unknown> {
    this.writes += 1;
    if (this.failures > 0) {
      this.failures -= 1;
      return Promise.reject(new ApiError(500, 'InternalError', path, 'etcdserver: request timed out'));
    }
    return super.apply(path, fieldManager, object, signal);
  }
}

export interface OperatorRunOptions {
  readonly namespaces: readonly string[];
  /** Of another user than the administrator. */
  readonly token?: string;
  /** Through a proxy, for example. */
  readonly server?: string;
  /** Its wall clock. */
  readonly now?: () => Date;
  /** Stands in what it renders. */
  readonly version?: string;
}

/** An operator that runs until `stop`. */
export class RunningOperator {
  readonly operator: Operator;
  readonly client: WatchedClient;
  readonly #stop = new AbortController();
  readonly #ended: Promise<unknown>;
  #reconciles = 0;

  constructor(plane: ControlPlane, { namespaces, token, server, now, version = '1.2.3' }: OperatorRunOptions) {
    this.client = new WatchedClient(configOf(plane, server, token), 'walstorage-operator/test');
    const logger = pino({ level: process.env['WALSTORAGE_TEST_LOG'] ?? 'silent' });
    this.operator = new Operator({
      client: this.client,
      namespaces,
      version,
      instance: 'test',
      logger,
      timings: { backoff: { firstMs: 50, maxMs: 1_000 }, watchSeconds: 300 },
      onReconciled: () => (this.#reconciles += 1),
      ...(now === undefined ? {} : { now }),
    });
    const { signal } = this.#stop;
    this.#ended = Promise.all([this.operator.watch(signal), this.operator.work(signal)]);
  }

  /** Resolves when it has listed everything and has nothing left to do. */
  async whenIdle(): Promise<void> {
    await eventually('the operator is idle', () => (this.operator.synced && this.operator.queue.idle) || undefined);
  }

  /** Resolves when the WalStorage `namespace/name` has been looked at from beginning to end since this call. */
  async lookAgain(key: string): Promise<void> {
    // The first look to end may have begun before.
    for (let look = 0; look < 2; look += 1) {
      const before = this.#reconciles;
      this.operator.queue.add(key);
      await eventually(`${key} is looked at`, () => this.#reconciles > before || undefined);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    this.client.close();
  }
}

/** The administrator's, or that of a token's user; `server` is where the API server is reached. */
export function configOf(plane: ControlPlane, server = plane.server, token?: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(plane.kubeconfig);
  const cluster = config.getCurrentCluster();
  const user = config.getCurrentUser();
  if (cluster === null || user === null) throw new Error('the kubeconfig has no cluster or user');
  config.loadFromClusterAndUser({ ...cluster, server }, token === undefined ? user : { name: 'token', token });
  return config;
}

/** Between the operator and the API server. */
export class Proxy {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #connected = Promise.withResolvers<void>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Starts one. It takes connections at once, but nothing passes before `opened` has resolved. */
  static async start(plane: ControlPlane, opened: Promise<void> = Promise.resolve()): Promise<Proxy> {
    const server = createServer((from) => {
      const to = connect(plane.port, '127.0.0.1');
      proxy.#connected.resolve();
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const) {
        proxy.#connections.add(one);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          proxy.#connections.delete(one);
          other.destroy();
        });
        void opened.then(() => one.pipe(other));
      }
    });
    const proxy = new Proxy(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen');
    return `https://127.0.0.1:${address.port}`;
  }

  /** Resolves when somebody has connected. */
  get whenConnected(): Promise<void> {
    return this.#connected.promise;
  }

  /** Resets every connection. Returns how many there were. */
  cut(): number {
    const count = this.#connections.size / 2;
    for (const connection of this.#connections) connection.resetAndDestroy();
    return count;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }
}

export interface LabelledPodOptions {
  readonly annotations?: Readonly<Record<string, string>>;
  /** The claims that it mounts, by volume. */
  readonly claims?: Readonly<Record<string, string>>;
  readonly hasSidecar?: boolean;
}

/** Of a pod as the webhook leaves it. */
export function podSpec({ claims = {}, hasSidecar = true }: LabelledPodOptions): object {
  const volumes = Object.entries(claims).map(([volume, claimName]) => ({
    name: `walstorage-data-${volume}`,
    persistentVolumeClaim: { claimName },
  }));
  const sidecar = { name: sidecarName, image: 'walstorage.invalid/walstorage', restartPolicy: 'Always' };
  return {
    serviceAccountName: 'db',
    terminationGracePeriodSeconds: 0,
    initContainers: hasSidecar ? [sidecar] : [],
    containers: [{ name: 'db', image: 'db.invalid/db' }],
    volumes,
  };
}

/** The API in one namespace, as users and sidecars use it. */
export class Namespace {
  readonly name: string;
  readonly #plane: ControlPlane;
  readonly #client: ApiClient;
  readonly #signal = new AbortController().signal;

  private constructor(plane: ControlPlane, name: string) {
    this.#plane = plane;
    this.name = name;
    this.#client = new ApiClient(configOf(plane), 'walstorage-test');
  }

  /** Makes one, with the ServiceAccount `db`. */
  static async create(plane: ControlPlane, name: string): Promise<Namespace> {
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'db', namespace: name } };
    await plane.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }, account);
    return new Namespace(plane, name);
  }

  close(): void {
    this.#client.close();
  }

  /** The object, or undefined where there is none. */
  async find<T extends KubernetesObject>(resource: Resource, name: string): Promise<T | undefined> {
    try {
      return asObject<T>(await this.#client.get(objectPath(resource, this.name, name), {}, this.#signal));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async storage(name: string): Promise<WalStorage> {
    const found = await this.find<WalStorage>(walStorages, name);
    if (found === undefined) throw new Error(`no WalStorage ${name}`);
    return found;
  }

  /** Waits until the status of a WalStorage is as wanted. */
  async status(name: string, what: string, isWanted: (storage: WalStorage) => boolean): Promise<WalStorage> {
    let last: WalStorage | undefined;
    const look = async (): Promise<WalStorage | undefined> => {
      last = await this.storage(name);
      return isWanted(last) ? last : undefined;
    };
    return await eventually(what, look).catch((error: unknown) => {
      throw new Error(`${String(error)}; the last status: ${JSON.stringify(last?.status)}`);
    });
  }

  /** As `kubectl apply`. */
  async applyStorage(name: string, spec: WalStorageSpec): Promise<WalStorage> {
    const metadata = { name, namespace: this.name };
    const object = { apiVersion, kind: 'WalStorage', metadata, spec };
    return asObject(await this.#client.apply(objectPath(walStorages, this.name, name), 'user', object, this.#signal));
  }

  /** A pod with the label, which stays Pending: there is no node. */
  async createPod(name: string, storageName: string, options: LabelledPodOptions = {}): Promise<Pod> {
    const { annotations = {}, claims = {} } = options;
    const metadata = { name, namespace: this.name, labels: { [storageLabel]: storageName }, annotations };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: podSpec({ ...options, claims }) };
    return asObject(await this.#client.apply(objectPath(pods, this.name, name), 'user', pod, this.#signal));
  }

  /** The objects of a resource. */
  async list<T extends KubernetesObject>(resource: Resource): Promise<readonly T[]> {
    return asList<T>(await this.#client.get(collectionPath(resource, this.name), {}, this.#signal)).items;
  }

  /** Writes a pod's status as its kubelet does: Running, and Ready or not. */
  async setReady({ metadata: { name, uid } }: Pod, isReady = true): Promise<void> {
    const conditions = [{ type: 'Ready', status: isReady ? 'True' : 'False' }];
    const metadata = { name, namespace: this.name, uid };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata, status: { phase: 'Running', conditions } };
    await this.#client.apply(objectPath(pods, this.name, name, 'status'), 'kubelet', pod, this.#signal);
  }

  async delete(kind: string, name: string): Promise<void> {
    await this.#plane.kubectl(['delete', kind, name, '-n', this.name, '--wait=false']);
  }

  /** Writes a pod's entry as its sidecar does: under a manager of its uid. */
  async report(storageName: string, pod: Pod, entry: Omit<PodStatus, 'name' | 'uid'>): Promise<void> {
    const { name, uid } = pod.metadata;
    const metadata = { name: storageName, namespace: this.name };
    const object = { apiVersion, kind: 'WalStorage', metadata, status: { pods: [{ name, uid, ...entry }] } };
    const path = objectPath(walStorages, this.name, storageName, 'status');
    await this.#client.apply(path, `pod-${uid}`, object, this.#signal);
  }

  /** The resourceVersions of these objects. */
  async versions(...objects: readonly (readonly [Resource, string])[]): Promise<(string | undefined)[]> {
    const found = await Promise.all(objects.map(([resource, name]) => this.find(resource, name)));
    return found.map((object) => object?.metadata.resourceVersion);
  }
}
