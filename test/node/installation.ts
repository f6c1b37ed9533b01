/** Our chart with our image on the node's cluster, as a person installs it: once for all tests of a process. */
import type { TestContext } from 'node:test';
import { release } from '../../charts/rendering.ts';
import type { RealCluster } from '../cluster/real-cluster.ts';
import { HelmOn } from '../running-chart.ts';
import { eventually, testOnNode } from './node-scene.ts';
import { Tenant } from './tenant.ts';

/** The image that the node has. */
const imageFlags = ['--set', 'image.repository=localhost/walstorage', '--set', 'image.tag=test'];

const operatorNames = ['-n', release.namespace, 'deployment/walstorage-operator'];

export class Installation {
  readonly cluster: RealCluster;
  readonly helm: HelmOn;

  private constructor(cluster: RealCluster) {
    this.cluster = cluster;
    this.helm = new HelmOn(cluster.controlPlane);
  }

  /** Installs the chart: resolves when all replicas of the operator are Ready, and their webhook answers. */
  static async make(cluster: RealCluster): Promise<Installation> {
    const installation = new Installation(cluster);
    await installation.helm.install(imageFlags);
    await installation.isServed();
    return installation;
  }

  /** Resolves when all replicas of the operator are Ready, and their webhook answers. */
  async isServed(): Promise<void> {
    const rollout = ['rollout', 'status', '--timeout=120s', ...operatorNames];
    await this.cluster.kubectl(rollout).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await this.describe()}`);
    });
    const answers = () => this.#webhookSays().then((said) => said.includes('no WalStorage'));
    await eventually('the webhook answers', answers, () => this.describe());
  }

  /** Changes the number of operators; resolves when they serve, or are gone. */
  async scale(replicas: number): Promise<void> {
    await this.cluster.kubectl(['scale', `--replicas=${replicas}`, ...operatorNames]);
    if (replicas > 0) return this.isServed();
    const pods = ['pod', '--selector=app.kubernetes.io/name=walstorage-operator', '-n', release.namespace];
    await this.cluster.kubectl(['wait', '--for=delete', '--timeout=120s', ...pods]);
  }

  /** Upgrades the release; resolves as `make` does. */
  async upgrade(flags: readonly string[]): Promise<void> {
    await this.helm.upgrade([...imageFlags, ...flags]);
    await this.isServed();
  }

  /** A namespace under restricted Pod Security, with all that is in it until the test ends; without a test, until the cluster does. */
  tenant(t: TestContext | undefined, name: string): Promise<Tenant> {
    return Tenant.make(this, t, name);
  }

  /** What the operator's pods are and log: for the message of a test that fails. */
  async describe(): Promise<string> {
    const tell = (...args: readonly string[]) => this.cluster.kubectl(args).catch(String);
    const pods = await tell('describe', 'pods', '-n', release.namespace);
    const logs = await tell('logs', ...operatorNames, '--all-pods', '--prefix', '--tail=30');
    return `${pods}\n${logs}`;
  }

  /** What is said to a pod that names a WalStorage which isn't there. Nothing is made. */
  async #webhookSays(): Promise<string> {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe', namespace: 'default', labels: { 'wal.proximadb.io/storage': 'none' } },
      spec: { containers: [{ name: 'none', image: 'none' }] },
    };
    const input = JSON.stringify(pod);
    return this.cluster.kubectl(['create', '--dry-run=server', '-f', '-'], { input }).catch(String);
  }
}

let installed: Promise<Installation> | undefined;

/** A test that gets the process's cluster with the chart installed. */
export function testInstalled(name: string, body: (installation: Installation, t: TestContext) => Promise<void>): void {
  testOnNode(name, async (cluster, t) => {
    installed ??= Installation.make(cluster);
    await body(await installed, t);
  });
}
