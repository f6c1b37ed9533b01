/**
 * One reconcile of one WalStorage: read from the caches, plan, write. It never asks what event led to it.
 *
 * | it meets | it does |
 * |---|---|
 * | an object to be created that exists (409) | reads it, plans again with it: ours after all, or `NameTaken` |
 * | an object refused for good (4xx) | writes that into the status, then fails, to be tried again later |
 * | a status that others write too often to be merged (409) | plans again shortly |
 * | a WalStorage that is gone, or being deleted | nothing: owner references do the rest |
 */
import type { Logger } from 'pino';
import { applyObject, applyStatus, pruneEntry } from './apply.ts';
import { type ApiClient, ApiError } from './client.ts';
import { type LiveObjects, ownedName } from './desired.ts';
import {
  asObject,
  type ConfigMap,
  type KubernetesObject,
  keyOf,
  objectPath,
  type Pod,
  type Role,
  type RoleBinding,
  type WalStorage,
} from './kubernetes.ts';
import { type ObjectAction, type Observed, type Plan, plan } from './plan.ts';

export type Slot = keyof LiveObjects | 'storage';

/** What a reconcile reads: copies that the reflectors keep. */
export interface Caches {
  /** `namespace/name`. */
  storage(key: string): WalStorage | undefined;
  /** The pods that bear the label of the WalStorage `namespace/name`. */
  podsOf(key: string): Pod[];
  configMap(key: string): ConfigMap | undefined;
  role(key: string): Role | undefined;
  roleBinding(key: string): RoleBinding | undefined;
  /** Takes what the API answered to a write, before its event arrives. */
  refresh(slot: Slot, object: KubernetesObject): void;
}

export interface ReconcilerOptions {
  readonly client: ApiClient;
  readonly caches: Caches;
  readonly operatorVersion: string;
  readonly logger: Logger;
  readonly now: () => Date;
}

const conflictAgainMs = 250;
/** Each of the three objects may be found in the place of one to be created, and then be applied. */
const writesMax = 6;
/** Answers that trying again at once won't change: a missing right, an admission policy, a quota. */
const refusals: ReadonlySet<number> = new Set([400, 403, 422]);

interface Written {
  readonly planned: Plan;
  readonly refused: ApiError | undefined;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /**
   * Brings the WalStorage `key` where it should be. Returns in how many milliseconds to look again, where no event
   * would tell; rejects with what stopped it.
   */
  async reconcile(key: string, signal: AbortSignal): Promise<number | undefined> {
    const observed = this.#observe(key);
    if (observed === undefined) return undefined;
    const { planned, refused } = await this.#writeObjects(observed, 0, signal);
    const againMs = await this.#finish(observed.storage, planned, signal);
    if (refused !== undefined) throw refused;
    return againMs;
  }

  /** Writes objects one by one until none is to be written, or one is refused. Returns the plan of what is left. */
  async #writeObjects(observed: Observed, writes: number, signal: AbortSignal): Promise<Written> {
    const planned = plan(observed);
    const [action] = planned.objects;
    if (action === undefined) return { planned, refused: undefined };
    const what = `${action.object.kind} ${action.object.metadata.name}`;
    if (writes === writesMax) throw new Error(`${what} does not stay as it was applied`);
    try {
      const live = { ...observed.live, [action.slot]: await this.#write(action, signal) };
      return await this.#writeObjects({ ...observed, live }, writes + 1, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || !refusals.has(error.status)) throw error;
      const refusal = `${what} was refused by the API server: ${error.said}`;
      return { planned: plan({ ...observed, refusal }), refused: error };
    }
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
    return { storage, pods: caches.podsOf(key), live, refusal: undefined, operatorVersion, now: now() };
  }

  /** Writes an object. Returns it as stored, or the one that is there where it was to be created. */
  async #write(action: ObjectAction, signal: AbortSignal): Promise<KubernetesObject> {
    const { client, caches, logger } = this.#options;
    const { kind, metadata } = action.object;
    const target = { kind, namespace: metadata.namespace, name: metadata.name };
    try {
      const stored = await applyObject(client, action, signal);
      caches.refresh(action.slot, stored);
      logger.info(target, action.uid === undefined ? 'created' : 'applied');
      return stored;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409 && action.uid === undefined) {
        const path = objectPath(action.resource, metadata.namespace, metadata.name);
        return asObject(await client.get(path, {}, signal));
      }
      throw error;
    }
  }

  /** Prunes, and writes the status. */
  async #finish(storage: WalStorage, planned: Plan, signal: AbortSignal): Promise<number | undefined> {
    const { client, caches, logger } = this.#options;
    const key = keyOf(storage);
    try {
      for (const prune of planned.prunes) {
        const stored = await pruneEntry(client, storage, prune, signal);
        if (stored === undefined) continue;
        caches.refresh('storage', stored);
        logger.info({ key, ...prune }, 'removed the entry of a pod that is gone');
      }
      if (planned.status === undefined) return planned.againMs;
      caches.refresh('storage', await applyStatus(client, storage, planned.status, signal));
      logger.debug({ key }, 'status written');
      return planned.againMs;
    } catch (error) {
      const status = error instanceof ApiError ? error.status : undefined;
      if (status === 404) return undefined;
      if (status === 409) return conflictAgainMs;
      throw error;
    }
  }
}
