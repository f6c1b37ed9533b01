/** A namespace with a database in it: the examples as they stand, but for the stand-in's image and its needs. */
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import type { WalStorageSpec } from '../../crds/walstorage.generated.ts';
import type { WalStorage } from '../../operator/kubernetes.ts';
import type { RealCluster } from '../cluster/real-cluster.ts';
import { example } from '../crd-refusals.ts';
import { DatabasePod } from './database-pod.ts';
import { eventually } from './node-scene.ts';

/** Of examples/walstorage.yaml. */
export const storageName = 'orders';
/** Of examples/statefulset.yaml. */
export const setName = 'proximadb';

/** What a tenant needs of the installation that it is on. */
interface Host {
  readonly cluster: RealCluster;
  describe(): Promise<string>;
}

interface Template {
  readonly metadata: object;
  readonly spec: { readonly containers: readonly [{ readonly name: string }]; readonly [field: string]: unknown };
}

interface SetSpec {
  readonly template: Template;
  readonly [field: string]: unknown;
}

type Manifest = { readonly kind: string; readonly [field: string]: unknown } & { readonly spec: SetSpec };

export interface DatabaseOptions {
  readonly replicas: number;
  /** Of the WalStorage, instead of the example's. */
  readonly spec?: WalStorageSpec;
  /** What of the pod template's spec is otherwise than in the example. */
  readonly podSpec?: object;
  /** Environment of the stand-in, as `COLLECTIONS`. */
  readonly environment?: Readonly<Record<string, string>>;
}

export class Tenant {
  readonly namespace: string;
  readonly #host: Host;

  private constructor(host: Host, namespace: string) {
    this.#host = host;
    this.namespace = namespace;
  }

  /** Makes the namespace, which goes when the test ends; without a test, with the cluster. */
  static async make(host: Host, t: TestContext | undefined, namespace: string): Promise<Tenant> {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await host.cluster.controlPlane.apply({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels },
    });
    t?.after(() => host.cluster.kubectl(['delete', 'namespace', namespace, '--timeout=120s']));
    return new Tenant(host, namespace);
  }

  /** Runs kubectl in this namespace, as `ControlPlane.kubectl` does. */
  async kubectl(args: readonly string[], input = ''): Promise<string> {
    return this.#host.cluster.kubectl(['-n', this.namespace, ...args], { input });
  }

  /** Applies objects given as JavaScript values, in order; resolves with what kubectl prints. */
  async apply(...objects: readonly object[]): Promise<string> {
    return this.kubectl(['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  }

  /** Applies the WalStorage and the StatefulSet of the examples: resolves when all pods are Ready. */
  async runDatabase(options: DatabaseOptions): Promise<void> {
    await this.applyStorage(options.spec ?? example.spec);
    await this.applyDatabase(options);
    await this.isReady(options.replicas);
  }

  /** Applies the WalStorage of that spec. */
  async applyStorage(spec: WalStorageSpec): Promise<string> {
    return this.apply({ ...example, spec });
  }

  /** Applies the StatefulSet, with what it needs. */
  async applyDatabase(options: Omit<DatabaseOptions, 'spec'>): Promise<string> {
    return this.apply(...databaseObjects(options));
  }

  /** Waits until the WalStorage counts so many pods, all of them Ready. */
  async isReady(pods: number): Promise<WalStorage> {
    return this.storage(`${pods} pods are Ready`, ({ status }) => {
      const { podCount, readyPods, conditions = [] } = status ?? {};
      const isReady = conditions.some(({ type, status: value }) => type === 'Ready' && value === 'True');
      return isReady && podCount === pods && readyPods === pods;
    });
  }

  /** Waits until the WalStorage is as wanted. */
  async storage(what: string, wanted: (storage: WalStorage) => boolean): Promise<WalStorage> {
    let last: WalStorage | undefined;
    const look = async (): Promise<boolean> => {
      const found: WalStorage = JSON.parse(await this.kubectl(['get', 'walstorage', storageName, '-o', 'json']));
      last = found;
      return wanted(found);
    };
    await eventually(what, look, () => this.describe());
    if (last === undefined) throw new Error(`there is no WalStorage ${storageName}`);
    return last;
  }

  /** The stand-in in the pod of that ordinal. */
  database(ordinal: number): DatabasePod {
    return new DatabasePod(this.#host.cluster, this.namespace, `${setName}-${ordinal}`);
  }

  /** What is in here, what happened and what the operator logged: for the message of a test that fails. */
  async describe(): Promise<string> {
    const tell = (...args: readonly string[]) => this.kubectl(args).catch(String);
    const told = [
      await tell('describe', 'walstorage'),
      await tell('get', 'pods,pvc', '-o', 'wide'),
      await tell('get', 'events', '--sort-by=.lastTimestamp'),
      await tell('logs', `--selector=app.kubernetes.io/name=${setName}`, '--all-containers', '--prefix', '--tail=15'),
      await this.#host.describe(),
    ];
    return told.join('\n');
  }
}

/** The objects of examples/statefulset.yaml, with the stand-in as the database. */
function databaseObjects(options: Omit<DatabaseOptions, 'spec'>): object[] {
  const file = fileURLToPath(new URL('../../examples/statefulset.yaml', import.meta.url));
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    const manifest: Manifest = document.toJS();
    return manifest.kind === 'StatefulSet' ? withStandIn(manifest, options) : manifest;
  });
}

function withStandIn(manifest: Manifest, { replicas, podSpec = {}, environment = {} }: DatabaseOptions): object {
  const { template } = manifest.spec;
  const [container, ...more] = template.spec.containers;
  const spec = { ...template.spec, containers: [standIn(container, environment), ...more], ...podSpec };
  return { ...manifest, spec: { ...manifest.spec, replicas, template: { ...template, spec } } };
}

function standIn(container: object, environment: Readonly<Record<string, string>>): object {
  const variables = { LEDGER_DIR: '/data', ...environment };
  return {
    ...container,
    image: 'localhost/database:test',
    args: [],
    readinessProbe: { httpGet: { path: '/health', port: 'rest' }, periodSeconds: 1 },
    resources: { requests: { cpu: '10m' } },
    env: Object.entries(variables).map(([name, value]) => ({ name, value })),
  };
}
