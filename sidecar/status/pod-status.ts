/**
 * The pod's entry in `status.pods` within its share of the object's bytes, and the body of the PATCH that applies it. What
 * does not fit is left out in this order: assignments (`assignmentsTruncated` says so), reasons of URLs, `configError`, URLs.
 */
import type { AssignmentReport, StatusReport, UrlReport } from './report.ts';

/** An object grows slow to apply, and is refused at about 1.5 MB: this much is for the pods' entries together. */
const podsBytesMax = 256 * 1024;
/** The share until the number of pods is known. */
const firstShareBytes = 16 * 1024;

export interface PodIdentity {
  /** Of the WalStorage. */
  readonly storageName: string;
  readonly podName: string;
  readonly podUid: string;
  readonly namespace: string;
}

/** The entry of interfaces, section 6, but for `lastReportTime`. */
export interface PodStatus extends Omit<StatusReport, 'configError' | 'urls' | 'assignments'> {
  readonly name: string;
  readonly uid: string;
  /** Absent where the newest configuration holds. */
  readonly configError?: string;
  readonly urls: readonly (Omit<UrlReport, 'reason'> & { readonly reason?: string })[];
  readonly assignments: readonly AssignmentReport[];
  readonly assignmentsTruncated: boolean;
}

/** The bytes of one pod's entry when there are `podCount` pods; undefined: not known yet. */
export function shareBytes(podCount: number | undefined): number {
  return podCount === undefined ? firstShareBytes : Math.floor(podsBytesMax / Math.max(1, podCount));
}

/** The pod's entry; its JSON has at most `bytesMax` bytes, where the entry without lists has no more. */
export function buildPodStatus(identity: PodIdentity, report: StatusReport, bytesMax: number): PodStatus {
  const { ready, configHash, configError, collections, bytes, journalBytes } = report;
  const { podName: name, podUid: uid } = identity;
  // The time is added later: its room is kept here.
  const room = bytesMax - jsonBytes({ lastReportTime: new Date(0).toISOString() });
  const base = { name, uid, ready, configHash, collections, bytes, journalBytes };
  const lists = { urls: withReasons(report.urls), assignments: [], assignmentsTruncated: false };
  let entry: PodStatus = { ...base, ...(configError === '' ? {} : { configError }), ...lists };
  if (jsonBytes(entry) > room) entry = { ...entry, urls: withoutReasons(report.urls) };
  if (jsonBytes(entry) > room) entry = { ...base, ...lists, urls: entry.urls };
  if (jsonBytes(entry) > room) entry = { ...entry, urls: [] };
  return { ...entry, ...fitting(report.assignments, room - jsonBytes(entry)) };
}

/** The body of the server-side apply (JSON is YAML). */
export function applyBody(identity: PodIdentity, entry: PodStatus, now: Date): string {
  return JSON.stringify({
    apiVersion: 'wal.proximadb.io/v1alpha1',
    kind: 'WalStorage',
    metadata: { name: identity.storageName },
    status: { pods: [{ ...entry, lastReportTime: now.toISOString() }] },
  });
}

function withReasons(urls: readonly UrlReport[]): PodStatus['urls'] {
  return urls.map(({ reason, ...url }) => (reason === '' ? url : { ...url, reason }));
}

function withoutReasons(urls: readonly UrlReport[]): PodStatus['urls'] {
  return urls.map(({ url, state, collections, files, bytes, journalBytes }) => {
    return { url, state, collections, files, bytes, journalBytes };
  });
}

function fitting(all: Iterable<AssignmentReport>, roomBytes: number) {
  const assignments: AssignmentReport[] = [];
  let usedBytes = 0;
  for (const { component, collection, url } of all) {
    const assignment = { component, collection, url };
    usedBytes += jsonBytes(assignment) + 1;
    if (usedBytes > roomBytes) return { assignments, assignmentsTruncated: true };
    assignments.push(assignment);
  }
  return { assignments, assignmentsTruncated: false };
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
