/** The stand-in database in a pod, as a test sees it. */
import assert from 'node:assert/strict';
import type { RealCluster } from '../cluster/real-cluster.ts';
import type { State } from './database.ts';
import { eventually } from './node-scene.ts';

export class DatabasePod {
  readonly name: string;
  readonly #cluster: RealCluster;
  readonly #namespace: string;

  constructor(cluster: RealCluster, namespace: string, name: string) {
    this.#cluster = cluster;
    this.#namespace = namespace;
    this.name = name;
  }

  /** What it tells of itself; undefined while it does not run. */
  async state(): Promise<State | undefined> {
    const path = `/api/v1/namespaces/${this.#namespace}/pods/${this.name}:5678/proxy/`;
    const text = await this.#cluster.kubectl(['get', '--raw', path]).catch(() => undefined);
    return text === undefined ? undefined : JSON.parse(text);
  }

  /** Waits until it appends, and has had so many more entries acknowledged than now. */
  async appends(more: number): Promise<State> {
    const before = (await this.state())?.acknowledged ?? 0;
    return this.until(`${this.name} appends`, (state) => state.appending && state.acknowledged >= before + more);
  }

  /** Waits until its state is as wanted. */
  async until(what: string, wanted: (state: State) => boolean): Promise<State> {
    let last: State | undefined;
    const look = async (): Promise<boolean> => {
      last = await this.state();
      return last !== undefined && wanted(last);
    };
    await eventually(what, look, () => this.#describe(last));
    if (last === undefined) throw new Error(`${this.name} tells nothing`);
    return last;
  }

  /**
   * Waits until it has replayed and appends. All that was acknowledged before must be there, once.
   * @param isNewProcess whether the database was started again since: else only its connection was lost
   */
  async unharmed(before: State, isNewProcess: boolean): Promise<State> {
    const replays = isNewProcess ? 0 : before.replays;
    const what = `${this.name} has replayed and appends`;
    const state = await this.until(
      what,
      (now) => now.lost + now.doubled > 0 || (now.appending && now.replays > replays),
    );
    assert.deepEqual({ lost: state.lost, doubled: state.doubled }, { lost: 0, doubled: 0 }, this.name);
    assert.ok(state.verified >= before.acknowledged, `${this.name}: ${JSON.stringify({ before, state })}`);
    return state;
  }

  /** How often the container was started again. */
  async restarts(container: string): Promise<number> {
    const pod = JSON.parse(await this.#kubectl('get', 'pod', this.name, '-o', 'json'));
    const { initContainerStatuses = [], containerStatuses = [] } = pod.status;
    const statuses: readonly { readonly name: string; readonly restartCount: number }[] = [
      ...initContainerStatuses,
      ...containerStatuses,
    ];
    return statuses.find(({ name }) => name === container)?.restartCount ?? 0;
  }

  async #describe(last: State | undefined): Promise<string> {
    const tell = (...args: readonly string[]) => this.#kubectl(...args).catch(String);
    const described = await tell('describe', 'pod', this.name);
    const logs = await tell('logs', this.name, '--all-containers', '--prefix', '--tail=15');
    return `its last state: ${JSON.stringify(last)}\n${described}\n${logs}`;
  }

  #kubectl(...args: readonly string[]): Promise<string> {
    return this.#cluster.kubectl(['-n', this.#namespace, ...args]);
  }
}
