/** From the running engine to the report that is published: counted anew each time, nothing is kept twice. */
import type { AssignmentService } from '../assignment/service.ts';
import type { StorageUrl } from '../config/storage-url.ts';
import type { Committer } from '../wal/committer.ts';
import type { WalEngine } from '../wal/engine.ts';
import type { AssignmentReport, StatusReport, UrlReport } from './report.ts';

export interface HoldingsOptions {
  readonly engine: WalEngine;
  readonly assignments: AssignmentService;
  /** The WAL's URLs as configured, in the committers' order. */
  readonly urls: readonly StorageUrl[];
  readonly configHash: string;
}

/** The report of a sidecar that serves its socket. */
export function reportHoldings({ engine, assignments, urls, configHash }: HoldingsOptions): StatusReport {
  const counts = assignments.statistics('wal');
  const reports = engine.committers.map((committer, index) =>
    reportUrl(committer, urls[index]?.written ?? '', counts[index]?.collections ?? 0),
  );
  const sum = (key: 'collections' | 'bytes' | 'journalBytes'): number =>
    reports.reduce((total, report) => total + report[key], 0);
  return {
    ready: reports.some((report) => report.state === 'Available'),
    configHash,
    collections: sum('collections'),
    bytes: sum('bytes'),
    journalBytes: sum('journalBytes'),
    urls: reports,
    assignments: allAssignments(assignments),
  };
}

function reportUrl(committer: Committer, written: string, assigned: number): UrlReport {
  const { collections, journal, liveBytes, managed } = committer;
  let files = 0;
  for (const { segments } of collections) files += segments.length;
  const { state, reason } = managed;
  return {
    url: written,
    state,
    reason,
    collections: assigned,
    files,
    bytes: liveBytes,
    journalBytes: journal?.bytes ?? 0,
  };
}

function* allAssignments(assignments: AssignmentService): Generator<AssignmentReport> {
  for (const component of assignments.components()) {
    for (const { collection, url } of assignments.list(component)) yield { component, collection, url };
  }
}
