/**
 * What a newcomer has after the steps of the README: the chart, `examples/walstorage.yaml`, `examples/statefulset.yaml` with the
 * stand-in database, in a namespace under restricted Pod Security.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import type { WalStorage } from '../../crds/walstorage.generated.ts';
import type { RealCluster } from '../cluster/real-cluster.ts';
import { HelmOn } from '../running-chart.ts';
import type { State } from './database.ts';
import { DatabasePod } from './database-pod.ts';
import { eventually } from './node-scene.ts';

const examples = new URL('../../examples/', import.meta.url);
const namespace = 'orders-team';
const operatorNamespace = 'walstorage-system';
const image = ['--set', 'image.repository=localhost/walstorage', '--set', 'image.tag=test'];

export class StatefulDatabases {
  readonly cluster: RealCluster;
  readonly helm: HelmOn;

  constructor(cluster: RealCluster) {
    this.cluster = cluster;
    this.helm = new HelmOn(cluster.controlPlane);
  }

  /** Installs the chart with our image: resolves when both operators are ready. */
  async installChart(): Promise<string> {
    const notes = await this.helm.install(image);
    await this.operatorRolledOut();
    return notes;
  }

  async upgradeChart(flags: readonly string[]): Promise<void> {
    await this.helm.upgrade([...image, ...flags]);
    await this.operatorRolledOut();
  }

  async operatorRolledOut(): Promise<void> {
    await this.#rollout('deployment/walstorage-operator', operatorNamespace);
  }

  /** Applies the examples: resolves when all pods are Ready. */
  async applyExamples(): Promise<void> {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await this.cluster.controlPlane.apply({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels },
    });
    const file = fileURLToPath(new URL('walstorage.yaml', examples));
    await this.kubectl('apply', '-f', file);
    await this.apply(...(await databases()));
    await this.rolledOut();
  }

  async rolledOut(): Promise<void> {
    await this.#rollout('statefulset/proximadb', namespace);
  }

  async apply(...objects: readonly object[]): Promise<void> {
    const input = objects.map((object) => JSON.stringify(object)).join('\n---\n');
    await this.cluster.kubectl(['-n', namespace, 'apply', '-f', '-'], { input });
  }

  pod(number: number): DatabasePod {
    return new DatabasePod(this.cluster, namespace, `proximadb-${number}`);
  }

  /** The first pods of the StatefulSet. */
  pods(count = 3): DatabasePod[] {
    return Array.from({ length: count }, (_, number) => this.pod(number));
  }

  async states(count = 3): Promise<State[]> {
    return Promise.all(this.pods(count).map((pod) => pod.appends(1)));
  }

  /**
   * Waits until the first pods, one for each state from before, have replayed and append. All that was acknowledged must be there.
   * @param isNewProcess whether the databases were started again: else only their connection was lost
   */
  async unharmed(before: readonly State[], isNewProcess: boolean): Promise<State[]> {
    return Promise.all(
      this.pods(before.length).map(async (pod, index) => {
        const was = before[index];
        const state = await pod.unharmed(isNewProcess ? undefined : was);
        assert.ok(state.verified >= (was?.acknowledged ?? 0), `${pod.name}: ${JSON.stringify({ was, state })}`);
        return state;
      }),
    );
  }

  /** The WalStorage of the example. */
  async storage(): Promise<WalStorage> {
    return JSON.parse(await this.kubectl('get', 'walstorage', 'orders', '-o', 'json'));
  }

  /** Waits until its status is as wanted. */
  async status(what: string, wanted: (storage: WalStorage) => boolean): Promise<WalStorage> {
    let last = await this.storage();
    const look = async (): Promise<boolean> => {
      last = await this.storage();
      return wanted(last);
    };
    await eventually(what, look, () => JSON.stringify(last.status, null, 1));
    return last;
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    return this.cluster.kubectl(['-n', namespace, ...args]);
  }

  async #rollout(workload: string, inNamespace: string): Promise<void> {
    const flags = ['-n', inNamespace, 'rollout', 'status', workload, '--timeout=120s'];
    await this.cluster.kubectl(flags).catch(async (error: unknown) => {
      const pods = await this.cluster.kubectl(['-n', inNamespace, 'describe', 'pods']).catch(String);
      const events = await this.cluster.kubectl(['-n', inNamespace, 'events']).catch(String);
      throw new Error(`${String(error)}\n${pods}\n${events}`, { cause: error });
    });
  }
}

/** The example with the stand-in: its image, its ledger beside the other data, and requests that fit three times on a small machine. */
async function databases(): Promise<object[]> {
  const text = await readFile(new URL('statefulset.yaml', examples), 'utf8');
  return parseAllDocuments(text).map((document) => {
    const object: object = document.toJS();
    if (!isStatefulSet(object)) return object;
    for (const container of object.spec.template.spec.containers) {
      container.image = 'localhost/database:test';
      container.args = [];
      container.resources = { requests: { cpu: '50m', memory: '128Mi' } };
      container.env = [{ name: 'LEDGER_DIR', value: '/data' }];
      Object.assign(container.readinessProbe, { periodSeconds: 1 });
    }
    return object;
  });
}

interface Container {
  image: string;
  args: readonly string[];
  resources: object;
  env: readonly object[];
  readinessProbe: object;
}

interface StatefulSet {
  readonly kind: 'StatefulSet';
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly Container[] } } };
}

function isStatefulSet(object: object): object is StatefulSet {
  return 'kind' in object && object.kind === 'StatefulSet';
}
