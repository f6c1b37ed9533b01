/**
 * Many WalStorages with pods that exist in the API alone, and changes to them at a steady rate: by users, by sidecars, by
 * whoever deletes and creates pods. Each change is watched until the status shows it.
 *
 * | change | the status then shows | writes that it takes |
 * |---|---|---|
 * | `spec` | the new generation | ConfigMap, status |
 * | `report` | the new total | status |
 * | `deleted` | a pod and its bytes less, and no entry of it | entry, status |
 * | `created` | a pod more | status |
 *
 * The operator does these writes; or, to compare, somebody who knows what to write and just writes it (`bare-writer.ts`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import type { PodStatus, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { ApiClient, ApiError } from '../operator/client.ts';
import { collectionPath, objectPath, type Pod, pods, type WalStorage, walStorages } from '../operator/kubernetes.ts';
import { Reflector } from '../operator/reflector.ts';
import type { ControlPlane } from './cluster/control-plane.ts';
import { configOf, eventually, Namespace } from './running-operator.ts';

type ChangeKind = 'spec' | 'report' | 'deleted' | 'created';

/** A WalStorage after a change, and what its status is to say then. */
export interface Changed {
  readonly kind: ChangeKind;
  readonly name: string;
  readonly namespace: string;
  readonly generation: number;
  readonly bytes: number;
  readonly podCount: number;
  /** The uid of the pod that is gone by this change. */
  readonly goneUid: string | undefined;
}

/** A change that was made and shown. */
export interface ShownChange {
  readonly kind: ChangeKind;
  readonly name: string;
  /** When it was begun, on the wall clock: to find its requests in the audit log. */
  readonly begunMs: number;
  /** From the answer to the change until the status that shows it was seen. */
  readonly shownAfterMs: number;
}

interface Member {
  readonly name: string;
  generation: number;
  /** With what they last reported. */
  readonly pods: { readonly pod: Pod; readonly bytes: number }[];
  /** Names of pods that were deleted. */
  readonly missing: string[];
}

const spec: WalStorageSpec = {
  volumes: [{ name: 'data', mountPath: '/mnt/data', podVolume: { name: 'data' } }],
  wal: { urls: [{ url: 'file:///mnt/data/1' }, { url: 'file:///mnt/data/2' }] },
};
const podsEach = 3;
/** Of 100 changes; a pod that was deleted is created by the next change of its WalStorage. */
const percentSpec = 30;
const percentDeleted = 10;
/** Writers at once while the objects are made. */
const makersAtOnce = 16;
/** An API server that starts again on a busy machine was seen to take a minute. */
const shownWithinMs = 180_000;
const retryMs = 100;

export class Churn {
  readonly namespace: Namespace;
  readonly shown: ShownChange[] = [];
  readonly #client: ApiClient;
  readonly #reflector: Reflector<WalStorage>;
  /** What is done for a change where there is no operator. */
  readonly #write: ((changed: Changed) => Promise<void>) | undefined;
  /** Those without a change under way. */
  readonly #members: Member[] = [];
  readonly #changing = new Set<Promise<void>>();
  /** WalStorages whose change the API server does not take just now. */
  readonly #refused = new Set<string>();
  readonly #lookers = new Map<string, (storage: WalStorage) => void>();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  #number = 0;

  private constructor(plane: ControlPlane, namespace: Namespace, write?: (changed: Changed) => Promise<void>) {
    this.namespace = namespace;
    this.#write = write;
    this.#client = new ApiClient(configOf(plane), 'walstorage-churn');
    this.#reflector = new Reflector<WalStorage>({
      client: this.#client,
      path: collectionPath(walStorages, namespace.name),
      logger: pino({ level: 'silent' }),
      onChange: ({ object }) => this.#lookers.get(object.metadata.name)?.(object),
      timings: { backoff: { firstMs: 20, maxMs: 100 }, watchSeconds: 300 },
    });
    this.#watching = this.#reflector.run(this.#stop.signal);
  }

  /** Makes a namespace with so many WalStorages, each with three pods that have reported. */
  static async create(
    plane: ControlPlane,
    name: string,
    storages: number,
    write?: (changed: Changed) => Promise<void>,
  ): Promise<Churn> {
    const churn = new Churn(plane, await Namespace.create(plane, name), write);
    await churn.#reflector.whenSynced;
    const names = Array.from({ length: storages }, (_, index) => `storage-${index}`);
    await Promise.all(Array.from({ length: makersAtOnce }, () => churn.#createSome(names)));
    return churn;
  }

  /** Waits until the status of every WalStorage shows all its pods. */
  async settled(): Promise<void> {
    for (const { name } of this.#members) {
      await eventually(`the status of ${name} shows its pods`, () => this.#isSettled(name) || undefined);
    }
  }

  /**
   * So many times, at so many a second, it calls `between` with the number and begins a change. While the API server
   * takes none there are none, and none of a WalStorage whose last one is not shown yet. Resolves when all are shown.
   */
  async run(times: number, perSecond: number, between: (number: number) => void = () => undefined): Promise<void> {
    const startMs = performance.now();
    for (let number = 0; number < times; number += 1) {
      // Where this process was held up, what was missed is made up for.
      await sleep(Math.max(0, startMs + (number / perSecond) * 1000 - performance.now()));
      between(number);
      if (this.#refused.size === 0) this.#begin();
    }
    await Promise.all(this.#changing);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    this.#client.close();
    this.namespace.close();
  }

  async #createSome(names: string[]): Promise<void> {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const { metadata } = await this.namespace.applyStorage(name, spec);
      const member: Member = { name, generation: metadata.generation ?? 0, pods: [], missing: [] };
      for (let ordinal = 0; ordinal < podsEach; ordinal += 1) {
        const pod = await this.namespace.createPod(`${name}-${ordinal}`, name);
        const entry = this.#entry();
        await this.namespace.report(name, pod, entry);
        member.pods.push({ pod, bytes: entry.bytes });
      }
      this.#members.push(member);
    }
  }

  #isSettled(name: string): boolean {
    const { metadata, status } = this.#storage(name) ?? {};
    if (status?.podCount !== podsEach || status.observedGeneration !== metadata?.generation) return false;
    return status.pods?.reduce((sum, entry) => sum + (entry.bytes ?? 0), 0) === status.bytes;
  }

  #storage(name: string): WalStorage | undefined {
    return this.#reflector.get(`${this.namespace.name}/${name}`);
  }

  #begin(): void {
    const [member] = this.#members.splice(Math.floor(Math.random() * this.#members.length), 1);
    if (member === undefined) return;
    const changing = this.#change(member).then(() => {
      this.#members.push(member);
      this.#changing.delete(changing);
    });
    // `run` waits for all of them at the end, and rejects then.
    changing.catch(() => undefined);
    this.#changing.add(changing);
  }

  async #change(member: Member): Promise<void> {
    const { name } = member;
    const kind = kindFor(member);
    const begunMs = Date.now();
    const { make, goneUid } = this.#made(kind, member);
    await untilDone(make, () => this.#refused.add(name));
    this.#refused.delete(name);
    const startMs = performance.now();
    const bytes = member.pods.reduce((sum, pod) => sum + pod.bytes, 0);
    const { generation, pods: present } = member;
    const { name: namespace } = this.namespace;
    const changed = { kind, name, namespace, generation, bytes, podCount: present.length, goneUid };
    const [shownMs] = await Promise.all([this.#whenShown(changed), this.#write?.(changed)]);
    this.shown.push({ kind, name, begunMs, shownAfterMs: shownMs - startMs });
  }

  /** What makes the change: it may be done again where it is not known whether it was. */
  #made(kind: ChangeKind, member: Member): { readonly goneUid?: string; readonly make: () => Promise<void> } {
    const { name, pods: present, missing } = member;
    if (kind === 'spec') return { make: () => this.#changeSpec(member) };
    if (kind === 'created') {
      const podName = missing.pop() ?? '';
      return {
        make: async () => void present.push({ pod: await this.namespace.createPod(podName, name), bytes: 0 }),
      };
    }
    const [chosen] = present.splice(Math.floor(Math.random() * present.length), 1);
    if (chosen === undefined) throw new Error(`${name} has no pod`);
    const { pod } = chosen;
    if (kind === 'deleted') {
      missing.push(pod.metadata.name);
      return { make: () => this.#evict(pod), goneUid: pod.metadata.uid };
    }
    const entry = this.#entry();
    present.push({ pod, bytes: entry.bytes });
    return { make: () => this.namespace.report(name, pod, entry) };
  }

  async #changeSpec(member: Member): Promise<void> {
    this.#number += 1;
    const wal = { ...spec.wal, memoryFlushSize: `${1 + (this.#number % 100)}Mi` };
    const { metadata } = await this.namespace.applyStorage(member.name, { ...spec, wal });
    member.generation = metadata.generation ?? 0;
  }

  /** Pods without a node are gone at once. */
  async #evict({ metadata: { name, namespace } }: Pod): Promise<void> {
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } };
    try {
      await this.#client.create(objectPath(pods, namespace, name, 'eviction'), eviction, this.#stop.signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }

  /** Resolves with the time when the status was seen to show the change. */
  #whenShown({ name, generation, bytes, podCount, goneUid }: Changed): Promise<number> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        const wanted = JSON.stringify({ generation, bytes, podCount, goneUid });
        const last = JSON.stringify(this.#storage(name)?.status);
        reject(new Error(`in ${shownWithinMs} ms the status of ${name} never showed ${wanted}: ${last}`));
      }, shownWithinMs);
      const look = ({ status }: WalStorage): void => {
        const isTotal = status?.bytes === bytes && status.podCount === podCount;
        if (!isTotal || (status.observedGeneration ?? 0) < generation) return;
        if (status.pods?.some(({ uid }) => uid === goneUid) === true) return;
        clearTimeout(late);
        this.#lookers.delete(name);
        resolve(performance.now());
      };
      this.#lookers.set(name, look);
      const held = this.#storage(name);
      if (held !== undefined) look(held);
    });
  }

  /** A report like no other. */
  #entry(): Omit<PodStatus, 'name' | 'uid'> & { readonly bytes: number } {
    this.#number += 1;
    const bytes = 1_000_000 + this.#number;
    const urls = spec.wal.urls.map(({ url }, index) => {
      return { url, state: 'Available' as const, collections: 1 - Math.min(index, 1), bytes: index === 0 ? bytes : 0 };
    });
    return { ready: true, collections: 1, bytes, urls };
  }
}

function kindFor({ missing, pods: { length } }: Member): ChangeKind {
  if (missing.length > 0) return 'created';
  const percent = Math.random() * 100;
  if (percent < percentSpec) return 'spec';
  return percent < percentSpec + percentDeleted && length > 1 ? 'deleted' : 'report';
}

/** Does it again and again until it works, and calls back at each failure. */
export async function untilDone(act: () => Promise<unknown>, onFailure: () => void = () => undefined): Promise<void> {
  for (;;) {
    try {
      await act();
      return;
    } catch {
      onFailure();
      await sleep(retryMs);
    }
  }
}
