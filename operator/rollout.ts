/**
 * Replacing the pods that were made from an older spec (O6). Pure, but for what it remembers, which is handed in and out.
 *
 * A pod is outdated if its annotation `wal.proximadb.io/injected` isn't the hash of the fields that need a restart, or if our
 * default memory limit has grown with globalFlushThreshold: its sidecar takes no threshold that its memory does not hold.
 * A new default image, or a new operator, changes no spec, and so replaces no pod.
 *
 * | rollout | outdated pods | planned |
 * |---|---|---|
 * | `OnDelete` | any | nothing: Ready names them |
 * | `Restart` | all other pods are Ready, the new ones with the newest configuration | evict the one of the highest ordinal |
 * | `Restart` | exactly one pod is not Ready, and it is outdated | evict that one |
 * | `Restart` | the spec is not in force; several pods are not Ready; one is on its way | wait for it |
 * | `Restart` | nobody would make the pod anew | nothing: Ready names it |
 * | `Restart` | no pod became replaced for 10 minutes | `RolloutStuck`, and it is tried further |
 *
 * A pod that was evicted is in no list until its successor is made. So before an eviction the owners of the pods are
 * asked how many they want: nothing about a rollout has to be stored, and a new leader goes on where the old one was.
 */
import { hashOf } from '../sidecar/config/hash.ts';
import { memoryNeededBytes } from './injection/memory.ts';
import { injectedAnnotation, sidecarName } from './injection/names.ts';
import type { OwnerReference, Pod, Resource, WalStorage } from './kubernetes.ts';
import { quantityBytes } from './quantity.ts';
import { list } from './sentence.ts';
import type { ReportingPod } from './usage.ts';

/** A controller of pods, and how many of ours it has that are not on their way out. */
export interface Owner {
  readonly kind: string;
  readonly name: string;
  readonly resource: Resource;
  readonly podCount: number;
}

export interface EvictAction {
  readonly podName: string;
  readonly uid: string;
  /** Each must have as many pods as it wants. */
  readonly owners: readonly Owner[];
}

/** What is known of a rollout from one reconcile to the next. */
export interface RolloutMemory {
  /** Of the outdated pods and what they are to become. */
  readonly signature: string;
  /** Since when that is so; milliseconds of the wall clock. */
  readonly sinceMs: number;
  /** Why the last eviction was put off, in words of the API server or ours. */
  readonly hindrance: string | undefined;
  /** The pod whose eviction was accepted; its copy may not show it yet. */
  readonly evictedUid: string | undefined;
}

export interface Rollout {
  readonly outdated: readonly ReportingPod[];
  /** Of these, those that the operator doesn't evict, as nobody would make them anew. */
  readonly left: readonly ReportingPod[];
  readonly eviction: EvictAction | undefined;
  /** Undefined while no rollout is under way. */
  readonly memory: RolloutMemory | undefined;
  /** Why nothing has moved for too long; a sentence. */
  readonly stuck: string | undefined;
  readonly againMs: number | undefined;
}

export interface RolloutInput {
  readonly storage: WalStorage;
  readonly pods: readonly ReportingPod[];
  readonly restartHash: string;
  /** Of the configuration in force. */
  readonly configHash: string;
  /** Whether the whole spec is in force. */
  readonly isInForce: boolean;
  readonly memory: RolloutMemory | undefined;
  readonly now: Date;
}

const stuckAfterMs = 600_000;

/**
 * The controllers that make a pod anew, by kind. Of others it isn't known how many pods they want, or (Job) it would repeat
 * work that was done.
 */
const ownerResources: ReadonlyMap<string, Resource> = new Map(
  ['StatefulSet', 'ReplicaSet'].map((kind) => [kind, { prefix: '/apis/apps/v1', plural: `${kind.toLowerCase()}s` }]),
);

/** Which pods are outdated, and what is to be done about it now. */
export function rolloutOf(input: RolloutInput): Rollout {
  const { storage, pods } = input;
  const outdated = pods.filter(({ pod }) => isOutdated(pod, input));
  const left = outdated.filter(({ pod }) => ownerOf(pod) === undefined);
  const replaceable = outdated.filter(({ pod }) => ownerOf(pod) !== undefined);
  if (storage.spec.rollout !== 'Restart' || replaceable.length === 0 || !input.isInForce) {
    return { outdated, left, eviction: undefined, memory: undefined, stuck: undefined, againMs: undefined };
  }
  const memory = rememberedOf(input, replaceable);
  const waitedMs = input.now.getTime() - memory.sinceMs;
  const isStuck = waitedMs >= stuckAfterMs;
  const { victim, waitsFor } = victimOf(input, replaceable);
  const why = waitsFor ?? memory.hindrance;
  const stuck = `${replaceable.length} of ${pods.length} pods still run with an older spec, and none was replaced for 10 minutes${why === undefined ? '' : `: ${why}`}.`;
  return {
    outdated,
    left,
    eviction: victim === undefined || victim.metadata.uid === memory.evictedUid ? undefined : evictionOf(victim, pods),
    memory,
    stuck: isStuck ? stuck : undefined,
    againMs: isStuck ? undefined : stuckAfterMs - waitedMs,
  };
}

/** Whether a pod was injected from another spec. One that bears no such hash was not made by our webhook. */
function isOutdated(pod: Pod, { storage, restartHash }: RolloutInput): boolean {
  const injected = pod.metadata.annotations?.[injectedAnnotation];
  if (injected === undefined || pod.metadata.deletionTimestamp !== undefined) return false;
  return injected !== restartHash || lacksMemory(pod, storage);
}

/** Whether the pod has less memory than it would be given now; a limit that the user gave is a field that needs a restart. */
function lacksMemory({ spec }: Pod, storage: WalStorage): boolean {
  const { resources } = spec.initContainers?.find(({ name }) => name === sidecarName) ?? {};
  const limitBytes = quantityBytes(resources?.limits?.['memory'] ?? '') ?? Number.POSITIVE_INFINITY;
  const isDefault = storage.spec.sidecar?.resources?.limits?.['memory'] === undefined;
  return isDefault && limitBytes < memoryNeededBytes(storage);
}

/** A new leader that finds it stuck doesn't begin to wait anew. */
function rememberedOf(
  { storage, restartHash, memory, now }: RolloutInput,
  pods: readonly ReportingPod[],
): RolloutMemory {
  const uids = pods.map(({ pod }) => pod.metadata.uid).toSorted();
  const signature = hashOf([restartHash, ...uids].join());
  if (memory?.signature === signature) return memory;
  const wasStuck =
    memory === undefined && storage.status?.conditions?.some(({ reason }) => reason === 'RolloutStuck') === true;
  return {
    signature,
    sinceMs: now.getTime() - (wasStuck ? stuckAfterMs : 0),
    hindrance: undefined,
    evictedUid: undefined,
  };
}

interface Choice {
  readonly victim?: Pod | undefined;
  /** Why there is none, without the last full stop. */
  readonly waitsFor?: string;
}

function victimOf(input: RolloutInput, replaceable: readonly ReportingPod[]): Choice {
  const { pods, restartHash, configHash } = input;
  const waiting = pods.filter(({ pod, entry, ready }) => {
    const isNew = pod.metadata.annotations?.[injectedAnnotation] === restartHash && !isOutdated(pod, input);
    return !ready || pod.metadata.deletionTimestamp !== undefined || (isNew && entry?.configHash !== configHash);
  });
  const [first, second] = waiting;
  if (first === undefined) return { victim: highest(replaceable.map(({ pod }) => pod)) };
  if (second === undefined && replaceable.includes(first)) return { victim: first.pod };
  const names = list(waiting.map(({ pod }) => pod.metadata.name));
  return { waitsFor: `it waits until ${names} ${waiting.length === 1 ? 'is' : 'are'} ready` };
}

/** The pod of the highest ordinal, as a StatefulSet would begin; by name where there are none. */
function highest(pods: readonly Pod[]): Pod | undefined {
  const [last] = pods.toSorted((a, b) => ordinalOf(b) - ordinalOf(a) || (a.metadata.name < b.metadata.name ? 1 : -1));
  return last;
}

function ordinalOf({ metadata }: Pod): number {
  return Number(/-(\d+)$/.exec(metadata.name)?.[1] ?? -1);
}

/** The controller of a pod, if it makes a deleted pod anew. */
function ownerOf({ metadata }: Pod): OwnerReference | undefined {
  const controller = metadata.ownerReferences?.find((owner) => owner.controller === true);
  return controller !== undefined && ownerResources.has(controller.kind) && controller.apiVersion === 'apps/v1'
    ? controller
    : undefined;
}

function evictionOf(victim: Pod, pods: readonly ReportingPod[]): EvictAction {
  const owners = new Map<string, Owner>();
  for (const { pod } of pods) {
    const owner = ownerOf(pod);
    const resource = owner === undefined ? undefined : ownerResources.get(owner.kind);
    if (owner === undefined || resource === undefined) continue;
    const podCount = (owners.get(owner.uid)?.podCount ?? 0) + 1;
    owners.set(owner.uid, { kind: owner.kind, name: owner.name, resource, podCount });
  }
  return { podName: victim.metadata.name, uid: victim.metadata.uid, owners: [...owners.values()] };
}
