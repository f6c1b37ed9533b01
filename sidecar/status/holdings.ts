/** From the running engine to the report that is published. */
import type { AssignmentService } from '../assignment/service.ts';
import type { StorageUrl } from '../config/storage-url.ts';
import { walHoldings } from '../holdings.ts';
import type { WalEngine } from '../wal/engine.ts';
import type { AssignmentReport, StatusReport, UrlReport } from './report.ts';

export interface HoldingsOptions {
  readonly engine: WalEngine;
  readonly assignments: AssignmentService;
  /** The WAL's URLs as configured, in the engine's order. */
  readonly urls: readonly StorageUrl[];
  readonly configHash: string;
}

/** The report of a sidecar that serves its socket. */
export function reportHoldings({ engine, assignments, urls, configHash }: HoldingsOptions): StatusReport {
  const holdings = walHoldings(engine, assignments);
  const reports = urls.flatMap(({ written: url }, index): UrlReport[] => {
    const [committer, held] = [engine.committers[index], holdings[index]];
    if (committer === undefined || held === undefined) return [];
    const { state, reason } = committer.managed;
    const { collections, files, bytes, journalBytes } = held;
    return [{ url, state, reason, collections, files, bytes, journalBytes }];
  });
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

function* allAssignments(assignments: AssignmentService): Generator<AssignmentReport> {
  for (const component of assignments.components()) {
    for (const { collection, url } of assignments.list(component)) yield { component, collection, url };
  }
}
