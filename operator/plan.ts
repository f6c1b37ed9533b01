/**
 * What is to be done for one WalStorage, as a pure function of what was read (R8): no clock, no API, and an empty list
 * once it has been done.
 *
 * | observed | planned |
 * |---|---|
 * | no ConfigMap, Role or RoleBinding of our name | create it, failing if one is there by then |
 * | ours (an ownerReference to this WalStorage's uid), but other than desired | apply it |
 * | of our name, but not ours | nothing; `NameTaken`, and looked at again later |
 * | a spec that a sidecar would refuse | the ConfigMap stays as it is; `SpecInvalid` |
 * | a URL left the spec while pods hold collections on it (O7) | it stays rendered; `UrlInUse` |
 * | claims of its pods that are missing or too small | `claims.ts` |
 * | sidecars that report an older configuration | `nudges.ts` |
 * | pods that were made from an older spec | `rollout.ts` |
 * | an entry, or a field manager, of a pod that is gone | prune |
 * | the status differs from what follows from all this | write it |
 */
import { isDeepStrictEqual } from 'node:util';
import { restartHash } from '../sidecar/config/changes.ts';
import { hashOf } from '../sidecar/config/hash.ts';
import {
  type ClaimAction,
  type ClaimProblem,
  claimActions,
  type LiveClaims,
  takenClaims,
  wantedClaims,
} from './claims.ts';
import {
  configKey,
  desiredObjects,
  holds,
  isAsDesired,
  isOurs,
  type LiveObjects,
  ownedName,
  type Wanted,
} from './desired.ts';
import { type Occurrence, transitionsOf } from './events.ts';
import type { ConfigMap, KubernetesObject, Pod, WalStorage } from './kubernetes.ts';
import { type NudgeAction, nudgesOf } from './nudges.ts';
import { placedUrls, type RenderOutcome, type RetainedUrl, readUrls, renderSpec } from './rendering.ts';
import { type EvictAction, type RolloutMemory, rolloutOf } from './rollout.ts';
import { type Obstacle, type OperatorStatus, statusOf } from './status.ts';
import { type ReportingPod, reportingPods, usedUrls } from './usage.ts';

export interface Observed {
  readonly storage: WalStorage;
  /** The pods that bear its label. */
  readonly pods: readonly Pod[];
  readonly live: LiveObjects;
  /** What the API server last said when it refused one of our objects for good; a sentence. */
  readonly refusal: string | undefined;
  /** Of the names that its pods mount. */
  readonly claims: LiveClaims;
  /** Claims that the API server has just refused. */
  readonly refusedClaims: readonly ClaimProblem[];
  /** What the plan before knew of a rollout. */
  readonly rolloutMemory: RolloutMemory | undefined;
  readonly operatorVersion: string;
  readonly now: Date;
}

export interface ObjectAction extends Wanted {
  /** Of the object to be changed; undefined: it is to be created. */
  readonly uid: string | undefined;
}

export interface PruneAction {
  /** The field manager whose part of the status goes: `pod-<uid>`. */
  readonly manager: string;
  /** The pod's uid. */
  readonly uid: string;
  /** The pod's name; undefined where the manager is recorded without an entry. */
  readonly podName: string | undefined;
}

export interface Plan {
  readonly objects: readonly ObjectAction[];
  readonly claims: readonly ClaimAction[];
  readonly nudges: readonly NudgeAction[];
  readonly eviction: EvictAction | undefined;
  readonly prunes: readonly PruneAction[];
  /** Undefined: it is as it should be. */
  readonly status: OperatorStatus | undefined;
  /** What the status tells anew. */
  readonly occurrences: readonly Occurrence[];
  readonly rolloutMemory: RolloutMemory | undefined;
  /** Look again after so long, for what no watch tells of. */
  readonly againMs: number | undefined;
}

const takenAgainMs = 5_000;
const podManagerPrefix = 'pod-';

/** What is to be done, given what is. Pure. */
export function plan(observed: Observed): Plan {
  const { storage, live, refusal } = observed;
  const reporting = reportingPods(observed.pods, storage.status?.pods ?? []);
  const retained = retainedUrls(storage, live.configMap, reporting);
  const outcome = renderSpec(storage.spec, retained, observed.operatorVersion);
  const rendering = 'rendering' in outcome ? outcome.rendering : undefined;
  const accounts = new Set(reporting.map(({ pod }) => pod.spec.serviceAccountName ?? 'default'));
  const desired = desiredObjects(storage, rendering?.text, [...accounts].toSorted());
  const taken = desired.flatMap((wanted) => takenBy(wanted, live[wanted.slot], storage) ?? []);
  const obstacle = obstacleOf(taken, outcome, retained, refusal);
  const isInForce = rendering !== undefined && (obstacle === undefined || obstacle.reason === 'UrlInUse');
  const configHash = isInForce ? rendering.hash : liveHash(live.configMap, storage);
  const wanted = wantedClaims(storage, observed.pods);
  const takenNames = takenClaims(storage, wanted, observed.claims);
  const rollout = rolloutOf({
    storage,
    pods: reporting,
    restartHash: restartHash(storage.spec),
    configHash,
    isInForce: obstacle === undefined,
    memory: observed.rolloutMemory,
    now: observed.now,
  });
  const nudges = nudgesOf(reporting, configHash, observed.now);
  const status = statusOf({
    storage,
    pods: reporting,
    urls: placedUrls(storage.spec, retained),
    configMapName: ownedName(storage),
    configHash,
    obstacle,
    claimProblems: [...takenNames, ...observed.refusedClaims],
    rollout,
    now: observed.now,
  });
  const isDone = isWritten(storage, status);
  return {
    objects: refusal === undefined ? desired.flatMap((object) => objectAction(object, live[object.slot], storage)) : [],
    claims: claimActions(storage, wanted, observed.claims, observed.refusedClaims),
    nudges: nudges.actions,
    eviction: rollout.eviction,
    prunes: prunesOf(storage, reporting),
    status: isDone ? undefined : status,
    occurrences: isDone ? [] : transitionsOf(storage.status?.conditions, status.conditions),
    rolloutMemory: rollout.memory,
    againMs: soonest(taken.length + takenNames.length > 0 ? takenAgainMs : undefined, nudges.againMs, rollout.againMs),
  };
}

/** The least of those that are set. */
export function soonest(...timesMs: readonly (number | undefined)[]): number | undefined {
  const set = timesMs.filter((ms) => ms !== undefined);
  return set.length === 0 ? undefined : Math.min(...set);
}

/** URLs of the live ConfigMap that left the spec while pods hold collections under them (O7). */
function retainedUrls(
  storage: WalStorage,
  configMap: ConfigMap | undefined,
  pods: readonly ReportingPod[],
): RetainedUrl[] {
  const text = configMap !== undefined && isOurs(configMap, storage) ? configMap.data?.[configKey] : undefined;
  if (text === undefined) return [];
  const wanted = new Set(placedUrls(storage.spec, []).map(({ rendered }) => rendered));
  const removed = readUrls(text).filter(({ url }) => !wanted.has(url));
  const used = new Set(
    usedUrls(
      removed.map(({ url }) => url),
      pods,
    ),
  );
  return removed.filter(({ url }) => used.has(url));
}

function obstacleOf(
  taken: readonly string[],
  outcome: RenderOutcome,
  retained: readonly RetainedUrl[],
  refusal: string | undefined,
): Obstacle | undefined {
  const [firstTaken] = taken;
  if (firstTaken !== undefined) return { reason: 'NameTaken', message: taken.join(' ') };
  if ('problems' in outcome) {
    const message = `The spec is refused, and the last accepted one stays in force: ${outcome.problems}`;
    return { reason: 'SpecInvalid', message };
  }
  if (refusal !== undefined) return { reason: 'ApplyRefused', message: refusal };
  if (retained.length === 0) return undefined;
  const message =
    `${retained.map(({ component, url }) => `${url} (${component})`).join(', ')} left the spec while pods hold ` +
    'collections there, and stays in force. Put it back, or drop those collections first (WAL.DROP).';
  return { reason: 'UrlInUse', message };
}

/** Why an object of our name isn't ours to change: a sentence; undefined where it is, or there is none. */
function takenBy({ object }: Wanted, live: KubernetesObject | undefined, storage: WalStorage): string | undefined {
  if (live === undefined || isOurs(live, storage)) return undefined;
  const what = `${object.kind} ${object.metadata.name}`;
  const earlier = live.metadata.ownerReferences?.some(
    ({ kind, name }) => kind === 'WalStorage' && name === storage.metadata.name,
  );
  if (earlier === true) {
    return `${what} belongs to an earlier WalStorage of this name; Kubernetes is about to delete it.`;
  }
  return `${what} exists and was not made by the operator, which leaves it alone: delete it, or give this WalStorage another name.`;
}

function objectAction(wanted: Wanted, live: KubernetesObject | undefined, storage: WalStorage): ObjectAction[] {
  if (live === undefined) return [{ ...wanted, uid: undefined }];
  if (!isOurs(live, storage) || live.metadata.deletionTimestamp !== undefined || isAsDesired(live, wanted.object))
    return [];
  return [{ ...wanted, uid: live.metadata.uid }];
}

function liveHash(configMap: ConfigMap | undefined, storage: WalStorage): string {
  const text = configMap !== undefined && isOurs(configMap, storage) ? configMap.data?.[configKey] : undefined;
  return text === undefined ? '' : hashOf(text);
}

/** Entries whose pod is gone, and field managers of gone pods that are recorded without one. */
function prunesOf(storage: WalStorage, pods: readonly ReportingPod[]): PruneAction[] {
  const living = new Set(pods.map(({ pod }) => pod.metadata.uid));
  const names = new Map<string, string | undefined>();
  for (const { manager = '', subresource } of storage.metadata.managedFields ?? []) {
    if (subresource === 'status' && manager.startsWith(podManagerPrefix)) {
      names.set(manager.slice(podManagerPrefix.length), undefined);
    }
  }
  for (const { name, uid } of storage.status?.pods ?? []) if (uid !== undefined) names.set(uid, name);
  return [...names].flatMap(([uid, podName]) =>
    living.has(uid) ? [] : { manager: `${podManagerPrefix}${uid}`, uid, podName },
  );
}

function isWritten({ status: live }: WalStorage, status: OperatorStatus): boolean {
  if (live === undefined) return false;
  const { conditions, urls, ...rest } = status;
  const byType = new Map(live.conditions?.map((condition) => [condition.type, condition]));
  const byUrl = new Map(live.urls?.map((total) => [total.url, total]));
  return (
    holds(live, rest) &&
    conditions.every((condition) => isDeepStrictEqual(byType.get(condition.type), condition)) &&
    byUrl.size === urls.length &&
    urls.every((total) => isDeepStrictEqual(byUrl.get(total.url), total))
  );
}
