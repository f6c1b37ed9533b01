/** Three databases by the examples that a file of tests shares, and what their replays tell. */
import type { RealCluster } from '../cluster/real-cluster.ts';
import type { State } from './database.ts';
import type { DatabasePod } from './database-pod.ts';
import { type Installation, testInstalled } from './installation.ts';
import { setName, type Tenant } from './tenant.ts';

/** Pods of `examples/statefulset.yaml`. */
export const replicas = 3;

export class StatefulDatabases {
  readonly installation: Installation;
  readonly tenant: Tenant;

  private constructor(installation: Installation, tenant: Tenant) {
    this.installation = installation;
    this.tenant = tenant;
  }

  /** Applies the examples: resolves when all pods are Ready. */
  static async start(installation: Installation): Promise<StatefulDatabases> {
    const tenant = await installation.tenant(undefined, 'orders-team');
    await tenant.runDatabase({ replicas });
    return new StatefulDatabases(installation, tenant);
  }

  get cluster(): RealCluster {
    return this.installation.cluster;
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    return this.tenant.kubectl(args);
  }

  /** Resolves when the StatefulSet has all its pods, of its newest template, Ready. */
  async rolledOut(): Promise<void> {
    await this.kubectl('rollout', 'status', `statefulset/${setName}`, '--timeout=120s').catch(
      async (error: unknown) => {
        throw new Error(`${String(error)}\n${await this.tenant.describe()}`, { cause: error });
      },
    );
  }

  get pods(): readonly DatabasePod[] {
    return Array.from({ length: replicas }, (_, ordinal) => this.tenant.database(ordinal));
  }

  /** What all databases tell once each has appended. */
  async states(): Promise<State[]> {
    return Promise.all(this.pods.map(async (pod) => pod.appends(1)));
  }

  /** `DatabasePod.unharmed` of the first pods, one for each state from before. */
  async unharmed(before: readonly State[], isNewProcess: boolean): Promise<State[]> {
    return Promise.all(
      before.map(async (state, ordinal) => this.tenant.database(ordinal).unharmed(state, isNewProcess)),
    );
  }

  /** Ends all sidecars as a lack of memory does. */
  async killSidecars(): Promise<void> {
    for (const { name } of this.pods) await this.cluster.node.killContainer(name, 'walstorage');
  }
}

let started: Promise<StatefulDatabases> | undefined;

/** A test that gets the databases of its file; the first one starts them. */
export function testDatabases(name: string, body: (databases: StatefulDatabases) => Promise<void>): void {
  testInstalled(name, async (installation) => {
    started ??= StatefulDatabases.start(installation);
    await body(await started);
  });
}
