/**
 * The operator. For each WalStorage it keeps a ConfigMap with the rendered configuration, a Role and RoleBinding that
 * let its pods report, the claims of its pods, and the status; it evicts pods where the user asks for it, and deletes
 * nothing.
 *
 *     reflectors ──► keys ──► queue ──► reconciler: observe ─► plan (pure) ─► apply      per key one at a time
 *     WalStorages, labelled Pods, our ConfigMaps, Roles, RoleBindings, claims
 *
 * | file | what |
 * |---|---|
 * | `reflector.ts`, `trim.ts`, `client.ts`, `service-account.ts` | copies of the API's objects, what is kept of each; requests, and as whom |
 * | `election.ts` | which of several replicas may write |
 * | `queue.ts` | which WalStorage is worked on, when, and again after a failure |
 * | `plan.ts`, `desired.ts`, `rendering.ts`, `status.ts`, `problems.ts`, `usage.ts` | what should be: pure |
 * | `claims.ts`, `nudges.ts`, `rollout.ts`, `events.ts` | the pods' claims, configuration, replacement; what is told: pure |
 * | `apply.ts`, `reconciler.ts` | the writes, and what follows when one is refused |
 * | `shared-places.ts`, `volume-lifetime.ts` | which pods write to one place; what a volume dies with: pure |
 * | `webhook/`, `injection/` | pods get their sidecar when they are created |
 *
 * Every event only names a WalStorage that is to be looked at. What sidecars report is looked at twice a second at most,
 * so that the reports of many pods become one write of the totals. Every replica watches; only one at a time works (O9).
 */
import type { Logger } from 'pino';
import type { ApiClient } from './client.ts';
import { managedByLabel, operatorName } from './desired.ts';
import {
  type ConfigMap,
  claims,
  collectionPath,
  configMaps,
  type KubernetesObject,
  keyOf,
  type PersistentVolumeClaim,
  type Pod,
  pods,
  type Resource,
  type Role,
  type RoleBinding,
  roleBindings,
  roles,
  storageLabel,
  type WalStorage,
  walStorages,
} from './kubernetes.ts';
import { WorkQueue } from './queue.ts';
import { type Caches, Reconciler, type Slot } from './reconciler.ts';
import { type Change, Reflector, type ReflectorTimings } from './reflector.ts';
import { SharedPlaces, sharedPlaces } from './shared-places.ts';
import { trimClaim, trimOwned, trimPod, trimStorage } from './trim.ts';
import { isFinished } from './usage.ts';

export interface OperatorOptions {
  /** Where there are several replicas, its writes are fenced by the election. */
  readonly client: ApiClient;
  /** Empty: all. */
  readonly namespaces: readonly string[];
  /** Stands in each rendered file as `rendered_by`. */
  readonly version: string;
  /** Of this operator among its replicas; stands in events. */
  readonly instance: string;
  readonly logger: Logger;
  /** Told of each reconcile that has ended. */
  readonly onReconciled?: (seconds: number, error: unknown) => void;
  readonly timings?: ReflectorTimings;
  /** The wall clock. */
  readonly now?: () => Date;
}

/** Each waits for the API server most of the time. */
const workers = 16;
const queueBackoff = { firstMs: 250, maxMs: 60_000 };
const reportsSpacingMs = 500;

/** The reflectors of one namespace, or of all. */
interface Watches {
  readonly storage: Reflector<WalStorage>;
  readonly pod: Reflector<Pod>;
  readonly configMap: Reflector<ConfigMap>;
  readonly role: Reflector<Role>;
  readonly roleBinding: Reflector<RoleBinding>;
  readonly claim: Reflector<PersistentVolumeClaim>;
}

export class Operator {
  /** Takes keys while this replica works. */
  readonly queue: WorkQueue;
  /** Where the pods write that are there and have not ended. */
  readonly sharedPlaces = new SharedPlaces();
  readonly #options: OperatorOptions;
  readonly #caches: Caches = this.#makeCaches();
  readonly #reconciler: Reconciler;
  /** By namespace; one under the empty name where all are watched. */
  readonly #watches: ReadonlyMap<string, Watches>;
  #term: AbortSignal = AbortSignal.abort();

  constructor(options: OperatorOptions) {
    const { client, logger, version, instance } = options;
    this.#options = options;
    const scopes = options.namespaces.length > 0 ? [...new Set(options.namespaces)] : [''];
    this.#watches = new Map(scopes.map((scope) => [scope, this.#watchesOf(scope === '' ? undefined : scope)]));
    this.#reconciler = new Reconciler({
      client,
      caches: this.#caches,
      operatorVersion: version,
      instance,
      logger,
      now: options.now ?? ((): Date => new Date()),
    });
    this.queue = new WorkQueue({
      work: (key) => this.#work(key),
      onFailure: (key, err, failures, waitMs) =>
        logger.warn({ key, err, failures, waitMs: Math.round(waitMs) }, 'reconcile failed'),
      workers,
      backoff: queueBackoff,
      spacingMs: reportsSpacingMs,
    });
  }

  /** All reflectors, for health and metrics. */
  get reflectors(): Reflector<KubernetesObject>[] {
    return [...this.#watches.values()].flatMap((watches) => Object.values(watches));
  }

  /** Whether every resource has been listed once: only then is anything written. */
  get synced(): boolean {
    return this.reflectors.every((reflector) => reflector.synced);
  }

  /** Keeps the copies until the signal; resolves when all that ran has ended. Every replica does this, once. */
  async watch(signal: AbortSignal): Promise<void> {
    await Promise.all(this.reflectors.map((reflector) => reflector.run(signal)));
  }

  /**
   * Works until the term is over: first on every WalStorage there is, since what happened before was nobody's or
   * another's to see. Waits for `watch` to have listed everything. Resolves when all that ran has ended; may be called
   * again then, for the next term.
   */
  async work(term: AbortSignal): Promise<void> {
    const over = aborted(term);
    await Promise.race([Promise.all(this.reflectors.map((reflector) => reflector.whenSynced)), over]);
    if (term.aborted) return;
    this.#options.logger.info({ namespaces: this.#options.namespaces }, 'operator works');
    this.#term = term;
    this.queue.start();
    for (const { storage } of this.#watches.values()) {
      for (const key of storage.keys()) this.queue.add(key);
    }
    await over;
    await this.queue.shutdown();
  }

  /** Whether this operator looks after a namespace. */
  isWatched(namespace: string): boolean {
    return this.#watches.has('') || this.#watches.has(namespace);
  }

  /** A WalStorage as last seen. */
  lookUp(namespace: string, name: string): WalStorage | undefined {
    return this.#caches.storage(`${namespace}/${name}`);
  }

  /** The names of the WalStorages in a namespace, as last seen. */
  storageNames(namespace: string): string[] {
    const watches = this.#watches.get('') ?? this.#watches.get(namespace);
    return (watches?.storage.indexed(namespace) ?? []).map(({ metadata }) => metadata.name);
  }

  async #work(key: string): Promise<number | undefined> {
    const startMs = performance.now();
    const ended = (error: unknown): void => this.#options.onReconciled?.((performance.now() - startMs) / 1000, error);
    try {
      const againMs = await this.#reconciler.reconcile(key, this.#term);
      ended(undefined);
      return againMs;
    } catch (error) {
      ended(error);
      throw error;
    }
  }

  #watchesOf(namespace: string | undefined): Watches {
    const reflect = <T extends KubernetesObject>(
      resource: Resource,
      labelSelector: string | undefined,
      onChange: (change: Change<T>) => void,
      more: { trim?: (object: T) => T; indexBy?: (object: T) => string | undefined } = {},
    ): Reflector<T> => {
      const { client, logger, timings } = this.#options;
      const path = collectionPath(resource, namespace);
      return new Reflector<T>({
        client,
        path,
        logger,
        onChange,
        ...(labelSelector === undefined ? {} : { labelSelector }),
        ...(timings === undefined ? {} : { timings }),
        ...more,
      });
    };
    const ours = `${managedByLabel}=${operatorName}`;
    const onOwned = (change: Change<KubernetesObject>): void => this.#onOwned(change);
    return {
      storage: reflect<WalStorage>(walStorages, undefined, (change) => this.#onStorage(change), {
        trim: trimStorage,
        indexBy: ({ metadata }) => metadata.namespace,
      }),
      pod: reflect<Pod>(pods, storageLabel, (change) => this.#onPod(change), { trim: trimPod, indexBy: storageKeyOf }),
      configMap: reflect<ConfigMap>(configMaps, ours, onOwned, { trim: trimOwned }),
      role: reflect<Role>(roles, ours, onOwned, { trim: trimOwned }),
      roleBinding: reflect<RoleBinding>(roleBindings, ours, onOwned, { trim: trimOwned }),
      claim: reflect<PersistentVolumeClaim>(claims, ours, (change) => this.#onClaim(change), { trim: trimClaim }),
    };
  }

  #makeCaches(): Caches {
    const watchesOf = (key: string): Watches | undefined =>
      this.#watches.get('') ?? this.#watches.get(key.slice(0, key.indexOf('/')));
    return {
      storage: (key) => watchesOf(key)?.storage.get(key),
      podsOf: (key) => watchesOf(key)?.pod.indexed(key) ?? [],
      configMap: (key) => watchesOf(key)?.configMap.get(key),
      role: (key) => watchesOf(key)?.role.get(key),
      roleBinding: (key) => watchesOf(key)?.roleBinding.get(key),
      claim: (key) => watchesOf(key)?.claim.get(key),
      refresh: (slot: Slot, object) => watchesOf(keyOf(object))?.[slot].refresh(object),
    };
  }

  /** A new spec is worked on at once; what only moved the status, not too often. */
  #onStorage({ type, object, previous }: Change<WalStorage>): void {
    if (previous?.metadata.uid === object.metadata.uid && previous.metadata.generation === object.metadata.generation) {
      this.queue.addSpaced(keyOf(object));
    } else {
      this.queue.add(keyOf(object));
      // Of one that is deleted the sidecars still run.
      if (type !== 'deleted') for (const pod of this.#caches.podsOf(keyOf(object))) this.#place(pod);
    }
  }

  /** A pod's label can be changed, so both the old and the new WalStorage are looked at. */
  #onPod({ type, object, previous }: Change<Pod>): void {
    if (type === 'deleted') this.sharedPlaces.delete(keyOf(object));
    else this.#place(object);
    for (const pod of [object, previous]) {
      const key = pod === undefined ? undefined : storageKeyOf(pod);
      if (key !== undefined) this.queue.add(key);
    }
  }

  /** A claim is wanted as long as a pod mounts it, so what is done to one matters to its WalStorage. */
  #onClaim({ object }: Change<PersistentVolumeClaim>): void {
    const key = storageKeyOf(object);
    if (key !== undefined) this.queue.add(key);
  }

  /** What we own is named after its WalStorage, whatever has become of its labels. */
  #onOwned({ object }: Change<KubernetesObject>): void {
    this.queue.add(keyOf(object).replace(/-walstorage$/, ''));
  }

  /** Notes where a pod writes, if its WalStorage is known already, or that it writes no more. */
  #place(pod: Pod): void {
    const storage = this.#caches.storage(storageKeyOf(pod) ?? '');
    if (isFinished(pod)) this.sharedPlaces.delete(keyOf(pod));
    else if (storage !== undefined) this.sharedPlaces.set(keyOf(pod), sharedPlaces(pod, storage));
  }
}

/** Resolves when the signal aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The key of the WalStorage that a label names: a pod's, or a claim's. */
function storageKeyOf({ metadata }: KubernetesObject): string | undefined {
  const name = metadata.labels?.[storageLabel];
  return name === undefined ? undefined : `${metadata.namespace}/${name}`;
}
