/**
 * What the operator writes into a WalStorage's status: all but `pods`, which the sidecars write.
 *
 * | condition | True | False |
 * |---|---|---|
 * | ConfigRendered | `Rendered` | `NameTaken`, `SpecInvalid`, `UrlInUse`, `ApplyRefused` |
 * | Ready (O8) | `NoPods`, `AllPodsReady` | as ConfigRendered, or `PodsNotReady` |
 * | Degraded | the first of `problems.ts` | `AllUrlsWork` |
 * | DurabilityLimited | `VolatileVolumes`, `SyncMode` | `Durable` |
 *
 * Ready is looked at first: it says what is waited for, and names shortly what keeps a pod from being ready; Degraded
 * says what to do about it. While all pods are ready, Ready says which of them have to be replaced to be as the spec wants
 * (O6), and which URLs are Pending until then (O5).
 *
 * A condition's time moves only when its status does.
 */
import type { StatusCondition, Volume, WalStorageStatus } from '../crds/walstorage.generated.ts';
import { shortened } from '../sidecar/shortened.ts';
import type { ClaimProblem } from './claims.ts';
import { storageLabel, type WalStorage } from './kubernetes.ts';
import { degraded, hasFaultyUrl, lacksSidecar } from './problems.ts';
import { humanSize } from './quantity.ts';
import { type PlacedUrl, volumeOf } from './rendering.ts';
import type { Rollout } from './rollout.ts';
import { counted, list } from './sentence.ts';
import { type ReportingPod, sum, urlTotals } from './usage.ts';
import { type Lifetime, lifetimeOf } from './volume-lifetime.ts';

export type OperatorStatus = Required<Omit<WalStorageStatus, 'pods'>>;

/** Why the spec is not rendered as it stands: a reason for programs and a sentence with the remedy. */
export interface Obstacle {
  readonly reason: 'NameTaken' | 'SpecInvalid' | 'UrlInUse' | 'ApplyRefused';
  readonly message: string;
}

export interface StatusInput {
  readonly storage: WalStorage;
  readonly pods: readonly ReportingPod[];
  readonly urls: readonly PlacedUrl[];
  readonly configMapName: string;
  /** Of the newest rendered configuration; empty while there is none. */
  readonly configHash: string;
  readonly obstacle: Obstacle | undefined;
  readonly claimProblems: readonly ClaimProblem[];
  readonly rollout: Rollout;
  readonly now: Date;
}

/** The CRD takes 32,768 characters, and the object as a whole has to stay small. */
const messageBytesMax = 8_192;

type Judgement = Pick<StatusCondition, 'status' | 'reason' | 'message'>;

/** The status of a WalStorage, from what its pods report and what became of its spec. */
export function statusOf(input: StatusInput): OperatorStatus {
  const { storage, pods, configHash } = input;
  const bytes = sum(pods.map(({ entry }) => entry?.bytes ?? 0));
  return {
    observedGeneration: storage.metadata.generation ?? 0,
    conditions: conditionsOf(input),
    configMap: input.configMapName,
    configHash,
    distributionStrategy: storage.spec.wal.distributionStrategy ?? 'LoadBalanced',
    urlCount: storage.spec.wal.urls.length,
    podCount: pods.length,
    readyPods: pods.filter(({ ready }) => ready).length,
    updatedPods: pods.filter(({ entry }) => configHash !== '' && entry?.configHash === configHash).length,
    collections: sum(pods.map(({ entry }) => entry?.collections ?? 0)),
    bytes,
    size: humanSize(bytes),
    urls: urlTotals(input.urls, pods, storage.status?.urls ?? []),
  };
}

function conditionsOf(input: StatusInput): StatusCondition[] {
  const { storage, pods, obstacle, claimProblems, now } = input;
  const judgements: Readonly<Record<string, Judgement>> = {
    Ready: readiness(input),
    ConfigRendered: rendered(input.configMapName, obstacle),
    Degraded: degraded({ storage, pods, claimProblems, rolloutStuck: input.rollout.stuck }),
    DurabilityLimited: durabilityLimited(storage, pods),
  };
  return Object.entries(judgements).map(([type, judgement]) => {
    const before = storage.status?.conditions?.find((condition) => condition.type === type);
    const kept = before?.status === judgement.status ? before.lastTransitionTime : undefined;
    return {
      type,
      status: judgement.status,
      reason: judgement.reason,
      message: shortened(judgement.message, messageBytesMax),
      observedGeneration: storage.metadata.generation ?? 0,
      lastTransitionTime: kept ?? now.toISOString().replace(/\.\d+Z$/, 'Z'),
    };
  });
}

function readiness({ storage, pods, obstacle, claimProblems, rollout }: StatusInput): Judgement {
  if (obstacle !== undefined) return { status: 'False', ...obstacle };
  if (pods.length === 0) {
    const message =
      `No pod asks for this storage. Set the label ${storageLabel}: ${storage.metadata.name} on the pod template ` +
      '(spec.template.metadata.labels) of your StatefulSet, in this namespace.';
    return { status: 'True', reason: 'NoPods', message };
  }
  const waiting = pods.filter((pod) => !pod.ready);
  const sentences = [...replacements(storage, rollout), ...pendingUrls(pods)];
  const ready = `${pods.length - waiting.length} of ${counted(pods.length, 'pod')} ready`;
  if (waiting.length === 0) {
    return { status: 'True', reason: 'AllPodsReady', message: [`${ready}.`, ...sentences].join(' ') };
  }
  const unclaimed = new Map(
    claimProblems.flatMap(({ isMissing, podName, claimName }) => (isMissing ? [[podName, claimName]] : [])),
  );
  const names = waiting.map((pod) => `${pod.pod.metadata.name} (${whyNotReady(pod, unclaimed)})`);
  const message = [`${ready}; waiting for ${list(names)}.`, ...sentences].join(' ');
  return { status: 'False', reason: 'PodsNotReady', message };
}

/** @param unclaimed by pod, a claim that could not be made for it */
function whyNotReady(reporting: ReportingPod, unclaimed: ReadonlyMap<string | undefined, string | undefined>): string {
  const { pod, entry } = reporting;
  const claim = unclaimed.get(pod.metadata.name);
  if (claim !== undefined) return `its claim ${claim} is refused, see Degraded`;
  if (lacksSidecar(reporting)) return 'it has no sidecar, see Degraded';
  if (entry === undefined) return 'its sidecar has not reported yet';
  if (entry.ready === true) return 'the pod is not Ready';
  return hasFaultyUrl(reporting) ? 'its sidecar is not ready, see Degraded' : 'its sidecar is not ready';
}

/** Which pods are of an older spec, and how they become new. */
function replacements({ spec }: WalStorage, { outdated, left }: Rollout): string[] {
  if (outdated.length === 0) return [];
  if (spec.rollout !== 'Restart') {
    const remedy = outdated.length === 1 ? 'Delete it' : 'Delete them one at a time';
    return [`${runOlder(outdated.length)}: ${namesOf(outdated)}. ${remedy}, or set rollout: Restart.`];
  }
  const isLeft = new Set(left);
  const evicted = outdated.filter((pod) => !isLeft.has(pod));
  const sentences: string[] = [];
  if (evicted.length > 0) {
    const pace = evicted.length === 1 ? '' : ' one at a time';
    sentences.push(`${runOlder(evicted.length)} and will be replaced${pace}: ${namesOf(evicted)}.`);
  }
  if (left.length > 0) {
    const why = 'rollout: Restart replaces only pods of a StatefulSet or Deployment; replace them yourself';
    sentences.push(`${runOlder(left.length)}: ${namesOf(left)}; ${why}.`);
  }
  return sentences;
}

function namesOf(pods: readonly ReportingPod[]): string {
  return list(pods.map(({ pod }) => pod.metadata.name));
}

function runOlder(number: number): string {
  return `${counted(number, 'pod')} ${number === 1 ? 'runs' : 'run'} with an older spec`;
}

/** The URLs that are not mounted in running pods (O5). */
function pendingUrls(pods: readonly ReportingPod[]): string[] {
  const pending = pods.flatMap(({ pod, entry }) =>
    (entry?.urls ?? []).flatMap(({ url, state }) => (state === 'Pending' ? { url, name: pod.metadata.name } : [])),
  );
  return [...Map.groupBy(pending, ({ url }) => url)].map(([url, found]) => {
    const names = list(found.map(({ name }) => name));
    return `${url} is not used yet (Pending) by ${counted(found.length, 'pod')}, until replaced: ${names}.`;
  });
}

function rendered(configMapName: string, obstacle: Obstacle | undefined): Judgement {
  if (obstacle !== undefined) return { status: 'False', ...obstacle };
  return { status: 'True', reason: 'Rendered', message: `ConfigMap ${configMapName} holds the configuration.` };
}

function durabilityLimited(storage: WalStorage, pods: readonly ReportingPod[]): Judgement {
  const volatile = volatileVolumes(storage, pods);
  const { syncMode } = storage.spec.wal;
  const limits = volatile.map(({ name, fate }) => `Volume ${name} ${fate}.`);
  if (syncMode === 'Periodic' || syncMode === 'Never') {
    limits.push(`With syncMode ${syncMode} an append is acknowledged before it is on the disk.`);
  }
  if (limits.length === 0) {
    const message = 'Every acknowledged append is on a volume that outlives pod and node, or on an object store.';
    return { status: 'False', reason: 'Durable', message };
  }
  const reason = volatile.length > 0 ? 'VolatileVolumes' : 'SyncMode';
  return { status: 'True', reason, message: limits.join(' ') };
}

interface VolatileVolume {
  readonly name: string;
  readonly fate: string;
}

const fates: Readonly<Record<Exclude<Lifetime, 'its own'>, string>> = {
  pod: 'is deleted with its pod, and what was acknowledged with it: use a claimTemplate to keep it',
  node: "lives on one node's disk: a pod that moves to another node does not find its log again",
};

/** The volumes under URLs that die with a pod or a node (R1). A podVolume is judged by what the pods have there. */
function volatileVolumes({ spec }: WalStorage, pods: readonly ReportingPod[]): VolatileVolume[] {
  const volumes = spec.volumes ?? [];
  const sections = [spec.wal, spec.viper, spec.lsm, spec.index, spec.metadata];
  const urls = sections.flatMap((section) => section?.urls ?? []);
  const used = new Set(urls.map(({ url }) => volumeOf(url, volumes)));
  return volumes
    .filter((volume) => used.has(volume))
    .flatMap((volume) => {
      const fate = fateOf(volume, pods);
      return fate === undefined ? [] : { name: volume.name, fate };
    });
}

function fateOf(volume: Volume, pods: readonly ReportingPod[]): string | undefined {
  const lifetimes = new Set(
    [[], ...pods.map(({ pod }) => pod.spec.volumes ?? [])].map((all) => lifetimeOf(volume, all)),
  );
  if (lifetimes.has('pod')) return fates.pod;
  return lifetimes.has('node') ? fates.node : undefined;
}
