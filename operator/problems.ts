/**
 * What is wrong with the pods of a WalStorage: the condition Degraded. A list of checks, the most urgent first; its
 * reason is that of the first one that finds something, its message has a sentence of each. Pure.
 *
 * | reason | what | the user |
 * |---|---|---|
 * | `SidecarMissing` | pods without our container: older than the webhook, or than their label | deletes them |
 * | `NameTaken` | a claim's name bears another's claim | deletes it |
 * | `ClaimRefused` | the API server refuses to make a claim, or to grow one: a quota, the storage class | what the message says |
 * | `UrlsShared` | pods whose URL is one and the same place | writes `${POD_NAME}` into it |
 * | `ConfigRefused` | sidecars that keep their old configuration, since they refuse the newest | what the message says |
 * | `UrlsNotAvailable` | URLs that fail in a pod | what the sidecar says |
 * | `RolloutStuck` | `rollout: Restart` has moved nothing for 10 minutes | what the message says |
 */
import type { StatusCondition } from '../crds/walstorage.generated.ts';
import type { ClaimProblem } from './claims.ts';
import { sidecarName } from './injection/names.ts';
import type { WalStorage } from './kubernetes.ts';
import { counted, list, unended } from './sentence.ts';
import { sharedPlaces } from './shared-places.ts';
import type { ReportingPod } from './usage.ts';

export interface ProblemInput {
  readonly storage: WalStorage;
  readonly pods: readonly ReportingPod[];
  readonly claimProblems: readonly ClaimProblem[];
  /** Why a rollout doesn't move; a sentence. */
  readonly rolloutStuck: string | undefined;
}

interface Problem {
  readonly reason: string;
  readonly message: string;
}

const checks: readonly ((input: ProblemInput) => Problem | undefined)[] = [
  sidecarMissing,
  (input) => claimProblem(input, 'NameTaken'),
  (input) => claimProblem(input, 'ClaimRefused'),
  urlsShared,
  configRefused,
  urlsNotAvailable,
  rolloutStuck,
];

/** The condition Degraded. */
export function degraded(input: ProblemInput): Pick<StatusCondition, 'status' | 'reason' | 'message'> {
  const problems = checks.flatMap((check) => check(input) ?? []);
  const [first] = problems;
  if (first === undefined) {
    return { status: 'False', reason: 'AllUrlsWork', message: 'No pod reports a URL that fails.' };
  }
  return { status: 'True', reason: first.reason, message: problems.map(({ message }) => message).join(' ') };
}

/** Whether a pod lacks the sidecar. One that reports has it, however it came by it. */
export function lacksSidecar({ pod, entry }: ReportingPod): boolean {
  return (
    entry === undefined &&
    pod.metadata.deletionTimestamp === undefined &&
    pod.spec.initContainers?.some(({ name }) => name === sidecarName) !== true
  );
}

function sidecarMissing({ pods }: ProblemInput): Problem | undefined {
  const without = pods.filter(lacksSidecar).map(({ pod }) => pod.metadata.name);
  if (without.length === 0) return undefined;
  const message =
    `${counted(without.length, 'pod')} without the sidecar: ${list(without)}. Made before the operator's webhook was ` +
    "there, or before the label was on the pod's template: delete them, so that they are made anew with it.";
  return { reason: 'SidecarMissing', message };
}

/** The first problem of a kind in full; the others are like it, and only named. */
function claimProblem({ claimProblems }: ProblemInput, reason: ClaimProblem['reason']): Problem | undefined {
  const [first, ...others] = claimProblems.filter((problem) => problem.reason === reason);
  if (first === undefined) return undefined;
  const names = others.map(({ claimName }) => claimName);
  const more = others.length === 0 ? '' : ` The same holds for ${list(names)}.`;
  return { reason, message: `${first.message}${more}` };
}

/**
 * Pods that write to one place: the webhook refuses the second, but two replicas of it may each let one in, and a pod may be
 * older than the URL.
 */
function urlsShared({ storage, pods }: ProblemInput): Problem | undefined {
  const places = pods.flatMap(({ pod }) =>
    pod.metadata.deletionTimestamp === undefined
      ? sharedPlaces(pod, storage).map(({ key, url }) => ({ key, url, podName: pod.metadata.name }))
      : [],
  );
  const faults = [...Map.groupBy(places, ({ key }) => key).values()].flatMap((sharers) => {
    const names = [...new Set(sharers.map(({ podName }) => podName))];
    return names.length < 2 ? [] : [`${sharers[0]?.url} is one and the same place in pods ${list(names)}`];
  });
  if (faults.length === 0) return undefined;
  const remedy = 'Write ${POD_NAME} into the URL, or give each pod a volume of its own (volumeClaimTemplates).';
  return { reason: 'UrlsShared', message: `${list(faults)}. ${remedy}` };
}

/** Different ones are rare, and each may be long. */
const reasonsShown = 3;

/** Mostly all pods refuse the same file for the same reason. */
function configRefused({ pods }: ProblemInput): Problem | undefined {
  const refusing = pods.filter(({ entry }) => (entry?.configError ?? '') !== '');
  if (refusing.length === 0) return undefined;
  const whys = [...Map.groupBy(refusing, ({ entry }) => entry?.configError ?? '')].map(([error, group]) => {
    const names = group.map(({ pod }) => pod.metadata.name);
    const lines = error.split('\n').map(unended);
    return `${list(names)}: ${lines.filter((line) => line !== '').join('; ')}`;
  });
  const whose = counted(refusing.length, 'sidecar');
  const message = `${whose} refused the newest configuration, and the old one stays in force there. ${whys.slice(0, reasonsShown).join('. ')}.`;
  return { reason: 'ConfigRefused', message };
}

/** Pending is no fault (the pod takes the URL when it is replaced), nor is Recovering. */
const faultyStates: ReadonlySet<string> = new Set(['Stalled', 'Full', 'Unavailable', 'Missing', 'Fenced']);

/** What fails for the same reason in several pods, as for a Secret that is missing, is told once. */
function urlsNotAvailable({ pods }: ProblemInput): Problem | undefined {
  const found = pods.flatMap(({ pod, entry }) =>
    (entry?.urls ?? [])
      .filter(({ state }) => faultyStates.has(state))
      .map(({ url, state, reason = '' }) => ({
        url,
        podName: pod.metadata.name,
        what: `is ${state}${inParentheses(reason)}`,
      })),
  );
  const faults = [...Map.groupBy(found, ({ url, what }) => `${url} ${what}`).values()].flatMap((same) => {
    const [first] = same;
    const names = same.map(({ podName }) => podName);
    return first === undefined
      ? []
      : `${first.url} in ${names.length === 1 ? 'pod' : 'pods'} ${list(names)} ${first.what}`;
  });
  return faults.length === 0 ? undefined : { reason: 'UrlsNotAvailable', message: `${list(faults)}.` };
}

/** A sidecar's reason, which may end as a sentence does. */
function inParentheses(reason: string): string {
  const words = unended(reason);
  return words === '' ? '' : ` (${words})`;
}

/** Whether a sidecar reports a URL that fails. */
export function hasFaultyUrl({ entry }: ReportingPod): boolean {
  return entry?.urls?.some(({ state }) => faultyStates.has(state)) === true;
}

function rolloutStuck({ rolloutStuck: message }: ProblemInput): Problem | undefined {
  return message === undefined ? undefined : { reason: 'RolloutStuck', message };
}
