/** What the pods of a WalStorage report, brought together: which pods count, which are ready, what lies under each URL. */
import type { PodStatus, UrlTotal } from '../crds/walstorage.generated.ts';
import { parseStorageUrl } from '../sidecar/config/storage-url.ts';
import { type Pod, storageLabel } from './kubernetes.ts';
import type { PlacedUrl } from './rendering.ts';

/** A pod that counts, and the entry that its own sidecar wrote; undefined until it has reported. */
export interface ReportingPod {
  readonly pod: Pod;
  readonly entry: PodStatus | undefined;
  /** Its sidecar says so, and Kubernetes doesn't say otherwise. */
  readonly ready: boolean;
}

/** Whether a pod has ended for good: its sidecar reports nothing more, and it is no longer waited for. */
export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** The pods that have not ended, by name, each with its entry. An entry of an earlier pod of the name isn't its own. */
export function reportingPods(pods: readonly Pod[], entries: readonly PodStatus[]): ReportingPod[] {
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  return pods
    .filter((pod) => !isFinished(pod))
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
    .map((pod) => {
      const found = byName.get(pod.metadata.name);
      const entry = found?.uid === pod.metadata.uid ? found : undefined;
      return { pod, entry, ready: entry?.ready === true && !saysNotReady(pod) };
    });
}

function saysNotReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'False') ?? false;
}

/** A row of a pod's entry, and the URL of the file that it is about. */
interface UrlRow {
  readonly rendered: string;
  readonly state: string;
  readonly collections: number;
  readonly bytes: number;
}

/**
 * Sums over pods for each URL of the spec, in its order. O7: no URL seems to hold nothing because a pod that has just been
 * made anew hasn't reported yet, or because none is there: what was known before holds until all have reported.
 * @param before what the status shows
 */
export function urlTotals(
  placed: readonly PlacedUrl[],
  pods: readonly ReportingPod[],
  before: readonly UrlTotal[],
): UrlTotal[] {
  const inFile = placed.map(({ rendered }) => rendered);
  const rows = pods.flatMap((pod) => rowsOf(pod, inFile));
  const seen = new Set<string>();
  const isWhole = pods.length > 0 && pods.every(({ entry }) => entry !== undefined);
  const known = new Map(isWhole ? [] : before.map((total) => [total.url, total]));
  return placed.flatMap(({ spec, rendered }) => {
    // A spec that names a URL twice is refused elsewhere; the list's key must be unique all the same.
    if (spec === undefined || seen.has(spec)) return [];
    seen.add(spec);
    const own = rows.filter((row) => row.rendered === rendered);
    const available = own.filter((row) => row.state === 'Available').length;
    const collections = sum(own.map((row) => row.collections));
    const last = known.get(spec);
    if (collections === 0 && last !== undefined) return { ...last, available };
    return { url: spec, collections, bytes: sum(own.map((row) => row.bytes)), available };
  });
}

/** Of these URLs of the file, those under which some pod reports collections. */
export function usedUrls(rendered: readonly string[], pods: readonly ReportingPod[]): string[] {
  const rows = pods.flatMap((pod) => rowsOf(pod, rendered));
  const used = new Set(rows.flatMap((row) => (row.collections > 0 ? row.rendered : [])));
  return rendered.filter((url) => used.has(url));
}

/** The rows of a pod's entry that are about one of these URLs, however the sidecar spells it. */
function rowsOf({ pod, entry }: ReportingPod, rendered: readonly string[]): UrlRow[] {
  if (entry?.urls === undefined) return [];
  const byUrl = new Map<string, string>();
  for (const url of rendered) byUrl.set(canonical(url, pod), url).set(url, url);
  return entry.urls.flatMap(({ url, state, collections = 0, bytes = 0 }) => {
    const found = byUrl.get(url);
    return found === undefined ? [] : { rendered: found, state, collections, bytes };
  });
}

/** The URL as the pod's sidecar sees it: expanded, in the one form of its scheme. */
function canonical(url: string, pod: Pod): string {
  const { name, namespace, labels } = pod.metadata;
  const environment = { POD_NAME: name, POD_NAMESPACE: namespace, WALSTORAGE_NAME: labels?.[storageLabel] };
  const parsed = parseStorageUrl(url, environment);
  return 'url' in parsed ? parsed.url.url : url;
}

/** The sum of numbers, 0 for none. */
export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
