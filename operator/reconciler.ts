/**
 * One reconcile of one WalStorage: read from the caches, plan, write. It never asks what event led to it.
 *
 * | it meets | it does |
 * |---|---|
 * | an object to be created that exists (409) | reads it, plans again with it: ours after all, or `NameTaken` |
 * | an object or claim refused for good (4xx) | writes that into the status, then fails, to be tried again later; other claims are made |
 * | a status that others write too often to be merged (409) | plans again shortly |
 * | an eviction that is refused, or that would come too early | remembers why, and tries again later |
 * | an event that is refused | logs it: events are for people only |
 * | a WalStorage that is gone, or being deleted | nothing: owner references do the rest |
 */
import type { Logger } from 'pino';
import { type Application, applyObject, applyStatus, createEvent, evictPod, nudgePod, pruneEntry } from './apply.ts';
import { type ClaimAction, type ClaimProblem, type LiveClaims, refusedClaim, wantedClaims } from './claims.ts';
import { type ApiClient, ApiError } from './client.ts';
import { type LiveObjects, ownedName } from './desired.ts';
import { EventBudget, eventOf, type Occurrence, summed } from './events.ts';
import {
  asObject,
  type ConfigMap,
  type KubernetesObject,
  keyOf,
  objectPath,
  type PersistentVolumeClaim,
  type Pod,
  type Role,
  type RoleBinding,
  type WalStorage,
} from './kubernetes.ts';
import { nudgeAgainMs } from './nudges.ts';
import { type Observed, type Plan, plan, soonest } from './plan.ts';
import type { EvictAction, RolloutMemory } from './rollout.ts';

export type Slot = keyof LiveObjects | 'storage' | 'pod' | 'claim';

/** What a reconcile reads: copies that the reflectors keep. */
export interface Caches {
  /** `namespace/name`. */
  storage(key: string): WalStorage | undefined;
  /** The pods that bear the label of the WalStorage `namespace/name`. */
  podsOf(key: string): Pod[];
  configMap(key: string): ConfigMap | undefined;
  role(key: string): Role | undefined;
  roleBinding(key: string): RoleBinding | undefined;
  claim(key: string): PersistentVolumeClaim | undefined;
  /** Takes what the API answered to a write, before its event arrives. */
  refresh(slot: Slot, object: KubernetesObject): void;
}

export interface ReconcilerOptions {
  readonly client: ApiClient;
  readonly caches: Caches;
  readonly operatorVersion: string;
  /** Of this operator among its replicas; stands in events. */
  readonly instance: string;
  readonly logger: Logger;
  readonly now: () => Date;
}

const conflictAgainMs = 250;
/** Each of the three objects may be found in the place of one to be created, and then be applied. */
const writesMax = 6;
/** Answers that trying again at once won't change: a missing right, an admission policy, a quota. */
const refusals: ReadonlySet<number> = new Set([400, 403, 422]);

/** Of one reconcile, so that one WalStorage of many pods doesn't keep the others waiting. */
const claimsMax = 100;
const nudgesMax = 50;
const prunesMax = 50;
const eventsMax = 10;
/** More of the same is done after so long. */
const restAgainMs = 100;

interface Answer<T> {
  readonly object: T;
  /** False: it was there. */
  readonly isWritten: boolean;
}

interface WrittenObjects {
  /** What is, after the writes. */
  readonly observed: Observed;
  readonly planned: Plan;
  readonly refused: ApiError | undefined;
}

interface WrittenClaims {
  readonly planned: Plan;
  readonly occurrences: readonly Occurrence[];
  readonly refused: ApiError | undefined;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #eventBudget = new EventBudget();
  #eventsTold = 0;
  /** Of the WalStorages whose pods are being replaced. */
  readonly #rollouts = new Map<string, RolloutMemory>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /**
   * Brings the WalStorage `key` where it should be. Returns in how many milliseconds to look again, where no event
   * would tell; rejects with what stopped it.
   */
  async reconcile(key: string, signal: AbortSignal): Promise<number | undefined> {
    const found = this.#observe(key);
    if (found === undefined) {
      this.#rollouts.delete(key);
      this.#eventBudget.forget(key);
      return undefined;
    }
    const objects = await this.#writeObjects(found, 0, signal);
    const { planned, occurrences, refused } = await this.#writeClaims(objects, signal);
    const { storage } = found;
    if (planned.rolloutMemory === undefined) this.#rollouts.delete(key);
    else this.#rollouts.set(key, planned.rolloutMemory);
    const isWritten = await this.#writeStatus(storage, planned, signal);
    await this.#tell(storage, [...(isWritten ? planned.occurrences : []), ...occurrences], signal);
    if (!isWritten) return conflictAgainMs;
    const nudgeMs = await this.#nudge(storage, planned, signal);
    const evictAgainMs = await this.#evict(storage, planned.eviction, signal);
    const stopped = objects.refused ?? refused;
    if (stopped !== undefined) throw stopped;
    const { claims, nudges, prunes } = planned;
    const isRestLeft = claims.length > 0 || nudges.length > nudgesMax || prunes.length > prunesMax;
    return soonest(planned.againMs, nudgeMs, evictAgainMs, isRestLeft ? restAgainMs : undefined);
  }

  /** Writes objects one by one until none is to be written, or one is refused. */
  async #writeObjects(observed: Observed, writes: number, signal: AbortSignal): Promise<WrittenObjects> {
    const planned = plan(observed);
    const [action] = planned.objects;
    if (action === undefined) return { observed, planned, refused: undefined };
    const what = `${action.object.kind} ${action.object.metadata.name}`;
    if (writes === writesMax) throw new Error(`${what} does not stay as it was applied`);
    try {
      const live = { ...observed.live, [action.slot]: (await this.#write(action.slot, action, signal)).object };
      return await this.#writeObjects({ ...observed, live }, writes + 1, signal);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const refusal = `${what} was refused by the API server: ${error.said}`;
      const after = { ...observed, refusal };
      return { observed: after, planned: plan(after), refused: error };
    }
  }

  /** Makes and grows claims, each for itself: one that is refused keeps no other pod waiting. */
  async #writeClaims({ observed, planned }: WrittenObjects, signal: AbortSignal): Promise<WrittenClaims> {
    if (planned.claims.length === 0) return { planned, occurrences: [], refused: undefined };
    const claims = new Map(observed.claims);
    const refusedClaims: ClaimProblem[] = [];
    const done: ClaimAction[] = [];
    let refused: ApiError | undefined;
    for (const action of planned.claims.slice(0, claimsMax)) {
      try {
        const { object, isWritten } = await this.#write<PersistentVolumeClaim>('claim', action, signal);
        claims.set(object.metadata.name, object);
        if (isWritten) done.push(action);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refused ??= error;
        refusedClaims.push(refusedClaim(action, error.said));
      }
    }
    return { planned: plan({ ...observed, claims, refusedClaims }), refused, occurrences: claimOccurrences(done) };
  }

  #observe(key: string): Observed | undefined {
    const { caches, operatorVersion, now } = this.#options;
    const storage = caches.storage(key);
    if (storage === undefined || storage.metadata.deletionTimestamp !== undefined) return undefined;
    const owned = `${storage.metadata.namespace}/${ownedName(storage)}`;
    const configMap = caches.configMap(owned);
    const role = caches.role(owned);
    const roleBinding = caches.roleBinding(owned);
    const live = {
      ...(configMap === undefined ? {} : { configMap }),
      ...(role === undefined ? {} : { role }),
      ...(roleBinding === undefined ? {} : { roleBinding }),
    };
    const pods = caches.podsOf(key);
    return {
      storage,
      pods,
      live,
      refusal: undefined,
      claims: this.#liveClaims(storage, pods),
      refusedClaims: [],
      rolloutMemory: this.#rollouts.get(key),
      operatorVersion,
      now: now(),
    };
  }

  #liveClaims(storage: WalStorage, pods: readonly Pod[]): LiveClaims {
    const found = wantedClaims(storage, pods).flatMap(({ name }): [string, PersistentVolumeClaim][] => {
      const claim = this.#options.caches.claim(`${storage.metadata.namespace}/${name}`);
      return claim === undefined ? [] : [[name, claim]];
    });
    return new Map(found);
  }

  /** Writes an object. The answer: it as stored, or the one that is there where it was to be created. */
  async #write<T extends KubernetesObject>(slot: Slot, action: Application, signal: AbortSignal): Promise<Answer<T>> {
    const { client, caches, logger } = this.#options;
    const { kind, metadata } = action.object;
    const target = { kind, namespace: metadata.namespace, name: metadata.name };
    try {
      const object = await applyObject<T>(client, action, signal);
      caches.refresh(slot, object);
      logger.info(target, action.uid === undefined ? 'created' : 'applied');
      return { object, isWritten: true };
    } catch (error) {
      if (error instanceof ApiError && error.status === 409 && action.uid === undefined) {
        const path = objectPath(action.resource, metadata.namespace, metadata.name);
        return { object: asObject<T>(await client.get(path, {}, signal)), isWritten: false };
      }
      throw error;
    }
  }

  /** Prunes, and writes the status. False: others wrote meanwhile, or it is gone. */
  async #writeStatus(storage: WalStorage, planned: Plan, signal: AbortSignal): Promise<boolean> {
    const { client, caches, logger } = this.#options;
    const key = keyOf(storage);
    try {
      for (const prune of planned.prunes.slice(0, prunesMax)) {
        const stored = await pruneEntry(client, storage, prune, signal);
        if (stored === undefined) continue;
        caches.refresh('storage', stored);
        logger.info({ key, ...prune }, 'removed the entry of a pod that is gone');
      }
      if (planned.status === undefined) return true;
      caches.refresh('storage', await applyStatus(client, storage, planned.status, signal));
      logger.debug({ key }, 'status written');
      return true;
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return false;
      throw error;
    }
  }

  async #tell(storage: WalStorage, occurrences: readonly Occurrence[], signal: AbortSignal): Promise<void> {
    const { client, instance, logger, now } = this.#options;
    const key = keyOf(storage);
    for (const occurrence of occurrences.slice(0, eventsMax)) {
      const at = now();
      if (!this.#eventBudget.take(key, at.getTime())) return;
      try {
        const event = eventOf(storage, occurrence, { instance, now: at, number: this.#eventsTold });
        this.#eventsTold += 1;
        await createEvent(client, storage.metadata.namespace, event, signal);
      } catch (err) {
        logger.warn({ key, err, reason: occurrence.reason }, 'an event could not be created');
      }
    }
  }

  /** Nudges pods. Returns when to try again, where one was refused: without it the kubelet comes by itself, but later. */
  async #nudge(storage: WalStorage, { nudges }: Plan, signal: AbortSignal): Promise<number | undefined> {
    const { client, caches, logger } = this.#options;
    const key = keyOf(storage);
    let againMs: number | undefined;
    for (const nudge of nudges.slice(0, nudgesMax)) {
      try {
        caches.refresh('pod', await nudgePod(client, storage.metadata.namespace, nudge, signal));
        logger.debug({ key, ...nudge }, "nudged the pod's kubelet");
      } catch (err) {
        if (!(err instanceof ApiError)) throw err;
        // Mostly a pod that is gone, or another one under its name by now.
        logger.info({ key, err, ...nudge }, "the pod's kubelet could not be nudged");
        againMs = nudgeAgainMs;
      }
    }
    return againMs;
  }

  /** Evicts a pod. Returns when to try again. */
  async #evict(
    storage: WalStorage,
    eviction: EvictAction | undefined,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const key = keyOf(storage);
    const memory = this.#rollouts.get(key);
    if (eviction === undefined || memory === undefined) return undefined;
    const { client, logger } = this.#options;
    const { podName, uid } = eviction;
    const hindrance = await evictPod(client, storage.metadata.namespace, eviction, signal);
    if (hindrance !== undefined) {
      this.#rollouts.set(key, { ...memory, hindrance: hindrance.why });
      logger.info({ key, podName, ...hindrance }, 'an eviction is put off');
      return hindrance.againMs;
    }
    this.#rollouts.set(key, { ...memory, hindrance: undefined, evictedUid: uid });
    logger.info({ key, podName, uid }, 'evicted a pod of an older spec');
    await this.#tell(storage, summed('Evict', 'PodEvicted', 'Made from an older spec, so evicted:', [podName]), signal);
    return undefined;
  }
}

/** Whether trying again at once won't help. */
function isRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && refusals.has(error.status);
}

function claimOccurrences(done: readonly ClaimAction[]): Occurrence[] {
  const made = done.filter(({ sizeBefore }) => sizeBefore === undefined);
  const grown = done.filter(({ sizeBefore }) => sizeBefore !== undefined);
  const madeNames = made.map(({ object, size, podName }) => `${object.metadata.name} (${size}, pod ${podName})`);
  const grownNames = grown.map(({ object, size, sizeBefore }) => `${object.metadata.name} (${sizeBefore} to ${size})`);
  return [
    ...summed('CreateClaim', 'ClaimCreated', 'Made PersistentVolumeClaim', madeNames),
    ...summed('GrowClaim', 'ClaimGrown', 'Asked for more space in PersistentVolumeClaim', grownNames),
  ];
}
