/**
 * Which pods are nudged (O6): a change of a pod's annotation makes its kubelet look at the ConfigMap at once, which else
 * takes a minute or more. Pure.
 *
 * | a pod's sidecar reports | its annotation | planned |
 * |---|---|---|
 * | the newest configuration, or nothing yet | any | nothing: it reads the file when it starts |
 * | that its file is bad, though it has the newest in force | any | as another one: somebody had edited the ConfigMap, and its file is still that |
 * | another one | not of the newest | `<hash>` |
 * | another one | `<hash>` for 3 s, or `<hash>.<n>` for twice as long as the one before | `<hash>.<n + 1>`: the kubelet's two watches are not ordered, it may have looked too early |
 * | another one | `<hash>.4` | nothing more: the kubelet comes by itself |
 *
 * When we last nudged stands in the pod: the time of our field manager.
 */
import { operatorName } from './desired.ts';
import { configHashAnnotation, type Pod } from './kubernetes.ts';
import type { ReportingPod } from './usage.ts';

export interface NudgeAction {
  readonly podName: string;
  readonly uid: string;
  /** Of the annotation. */
  readonly value: string;
}

export interface Nudges {
  readonly actions: readonly NudgeAction[];
  /** When a pod may have to be nudged again, in milliseconds. */
  readonly againMs: number | undefined;
}

/**
 * How long the first nudge has time to lead to a report of the newest configuration; each further one has twice as long. A
 * kubelet that looked too early must look again soon: people wait for a hot change.
 */
export const nudgeAgainMs = 3_000;
const repeatsMax = 4;

/** @param configHash of the configuration in force; empty while there is none */
export function nudgesOf(pods: readonly ReportingPod[], configHash: string, now: Date): Nudges {
  const actions: NudgeAction[] = [];
  let againMs: number | undefined;
  for (const { pod, entry } of pods) {
    if (configHash === '' || entry?.configHash === undefined) continue;
    if (entry.configHash === configHash && (entry.configError ?? '') === '') continue;
    if (pod.metadata.deletionTimestamp !== undefined) continue;
    const { name, uid } = pod.metadata;
    const before = nudgesBefore(pod, configHash);
    if (before === 0) actions.push({ podName: name, uid, value: configHash });
    if (before === 0 || before > repeatsMax) continue;
    const waitMs = nudgedAtMs(pod) + nudgeAgainMs * 2 ** (before - 1) - now.getTime();
    if (waitMs <= 0) actions.push({ podName: name, uid, value: `${configHash}.${before}` });
    // After the answer to this nudge, or its event, the pod is looked at again.
    else againMs = Math.min(waitMs, againMs ?? waitMs);
  }
  return { actions, againMs };
}

/** How often the pod has been nudged for this configuration. */
function nudgesBefore(pod: Pod, configHash: string): number {
  const [hash, repeat = '0'] = pod.metadata.annotations?.[configHashAnnotation]?.split('.') ?? [];
  // The annotation is anybody's to change: what is no count of ours is begun anew.
  return hash === configHash && /^\d{1,3}$/.test(repeat) ? Number(repeat) + 1 : 0;
}

/** When our field manager last changed the pod; 0 if never. */
function nudgedAtMs(pod: Pod): number {
  const ours = pod.metadata.managedFields?.find(({ manager }) => manager === operatorName);
  return ours?.time === undefined ? 0 : Date.parse(ours.time);
}
