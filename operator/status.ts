/**
 * What the operator writes into a WalStorage's status: all but `pods`, which the sidecars write.
 *
 * | condition | True | False |
 * |---|---|---|
 * | ConfigRendered | `Rendered` | `NameTaken`, `SpecInvalid`, `UrlInUse`, `ApplyRefused` |
 * | Ready (O8) | `NoPods`, `AllPodsReady` | as ConfigRendered, or `PodsNotReady` |
 * | Degraded | `UrlsNotAvailable` | `AllUrlsWork` |
 * | DurabilityLimited | `VolatileVolumes`, `SyncMode` | `Durable` |
 *
 * A condition's time moves only when its status does.
 */
import type { StatusCondition, Volume, WalStorageStatus } from '../crds/walstorage.generated.ts';
import { type Pod, storageLabel, type WalStorage } from './kubernetes.ts';
import { humanSize } from './quantity.ts';
import { type PlacedUrl, volumeOf } from './rendering.ts';
import { type ReportingPod, sum, urlTotals } from './usage.ts';

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
  readonly now: Date;
}

type Judgement = Pick<StatusCondition, 'status' | 'reason' | 'message'>;

/** How many names a message lists before it only counts. */
const namesShown = 5;

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
    urls: urlTotals(input.urls, pods),
  };
}

function conditionsOf(input: StatusInput): StatusCondition[] {
  const { storage, pods, obstacle, now } = input;
  const judgements: Readonly<Record<string, Judgement>> = {
    Ready: readiness(storage.metadata.name, pods, obstacle),
    ConfigRendered: rendered(input.configMapName, obstacle),
    Degraded: degraded(pods),
    DurabilityLimited: durabilityLimited(storage, pods),
  };
  return Object.entries(judgements).map(([type, judgement]) => {
    const before = storage.status?.conditions?.find((condition) => condition.type === type);
    const kept = before?.status === judgement.status ? before.lastTransitionTime : undefined;
    return {
      type,
      status: judgement.status,
      reason: judgement.reason,
      message: judgement.message,
      observedGeneration: storage.metadata.generation ?? 0,
      lastTransitionTime: kept ?? now.toISOString().replace(/\.\d+Z$/, 'Z'),
    };
  });
}

function readiness(name: string, pods: readonly ReportingPod[], obstacle: Obstacle | undefined): Judgement {
  if (obstacle !== undefined) return { status: 'False', ...obstacle };
  if (pods.length === 0) {
    const message =
      `No pod asks for this storage. Set the label ${storageLabel}: ${name} on the pod template ` +
      '(spec.template.metadata.labels) of your StatefulSet, in this namespace.';
    return { status: 'True', reason: 'NoPods', message };
  }
  const waiting = pods.filter((pod) => !pod.ready);
  if (waiting.length === 0) {
    return { status: 'True', reason: 'AllPodsReady', message: `${pods.length} of ${count(pods.length, 'pod')} ready.` };
  }
  const names = waiting.map(({ pod, entry }) => `${pod.metadata.name} (${whyNotReady(entry)})`);
  const message = `${pods.length - waiting.length} of ${count(pods.length, 'pod')} ready; waiting for ${list(names)}.`;
  return { status: 'False', reason: 'PodsNotReady', message };
}

function whyNotReady(entry: ReportingPod['entry']): string {
  if (entry === undefined) return 'its sidecar has not reported yet';
  return entry.ready === true ? 'the pod is not Ready' : 'its sidecar is not ready';
}

function rendered(configMapName: string, obstacle: Obstacle | undefined): Judgement {
  if (obstacle !== undefined) return { status: 'False', ...obstacle };
  return { status: 'True', reason: 'Rendered', message: `ConfigMap ${configMapName} holds the configuration.` };
}

/** Pending is no fault (the pod takes the URL when it is replaced), nor is Recovering. */
const faultyStates: ReadonlySet<string> = new Set(['Stalled', 'Full', 'Unavailable', 'Missing', 'Fenced']);

function degraded(pods: readonly ReportingPod[]): Judgement {
  const faults = pods.flatMap(({ pod, entry }) =>
    (entry?.urls ?? [])
      .filter(({ state }) => faultyStates.has(state))
      .map(({ url, state, reason }) => {
        const why = reason === undefined || reason === '' ? '' : ` (${reason})`;
        return `${url} in pod ${pod.metadata.name} is ${state}${why}`;
      }),
  );
  if (faults.length === 0) {
    return { status: 'False', reason: 'AllUrlsWork', message: 'No pod reports a URL that fails.' };
  }
  return { status: 'True', reason: 'UrlsNotAvailable', message: `${list(faults)}.` };
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

const diesWithPod = 'is deleted with its pod, and what was acknowledged with it: use a claimTemplate to keep it';
const diesWithNode = "lives on one node's disk: a pod that moves to another node does not find its log again";

/** The volumes under URLs that die with a pod or a node (R1). A podVolume is judged by what the pods have there. */
function volatileVolumes({ spec }: WalStorage, pods: readonly ReportingPod[]): VolatileVolume[] {
  const volumes = spec.volumes ?? [];
  const sections = [spec.wal, spec.viper, spec.lsm, spec.index, spec.metadata];
  const urls = sections.flatMap((section) => section?.urls ?? []);
  const used = new Set(urls.map(({ url }) => volumeOf(url, volumes)));
  return volumes
    .filter((volume) => used.has(volume))
    .flatMap((volume) => {
      const fate = fateOf(
        volume,
        pods.map(({ pod }) => pod),
      );
      return fate === undefined ? [] : { name: volume.name, fate };
    });
}

function fateOf(volume: Volume, pods: readonly Pod[]): string | undefined {
  if (volume.emptyDir !== undefined) return diesWithPod;
  if (volume.hostPath !== undefined) return diesWithNode;
  if (volume.podVolume === undefined) return undefined;
  const { name } = volume.podVolume;
  const sources = pods.flatMap(({ spec }) => spec.volumes?.filter((source) => source.name === name) ?? []);
  if (sources.some(({ emptyDir, ephemeral }) => emptyDir !== undefined || ephemeral !== undefined)) return diesWithPod;
  return sources.some(({ hostPath }) => hostPath !== undefined) ? diesWithNode : undefined;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function list(names: readonly string[]): string {
  const more = names.length - namesShown;
  return names.slice(0, namesShown).join(', ') + (more > 0 ? `, and ${more} more` : '');
}
