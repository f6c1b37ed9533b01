/** From the running engine to the report that is published. */
import type { Component } from '../assignment/assignment.ts';
import type { AssignmentService } from '../assignment/service.ts';
import type { ConfigurationInForce } from '../config/in-force.ts';
import { walHoldings } from '../holdings.ts';
import type { WalEngine } from '../wal/engine.ts';
import type { AddedUrlReport, AssignmentReport, StatusReport, UrlReport } from './report.ts';

/** As many as the resource takes. */
const urlsMax = 160;

export interface HoldingsOptions {
  readonly engine: WalEngine;
  readonly assignments: AssignmentService;
  readonly inForce: ConfigurationInForce;
  /** URLs of the newest configuration that wait for a restart. */
  readonly added: readonly AddedUrlReport[];
}

/** The report of a sidecar that serves its socket. Its sums are those of the log; `urls` has the other components', too. */
export function reportHoldings({ added, ...running }: HoldingsOptions): StatusReport {
  const { assignments, inForce } = running;
  const { configuration, error: configError, hash: configHash } = inForce;
  const wal = reportWal(running);
  const others = [...configuration.components.keys()].filter((component) => component !== 'wal');
  const sum = (key: 'collections' | 'bytes' | 'journalBytes'): number =>
    wal.reduce((total, report) => total + report[key], 0);
  return {
    ready: wal.some((report) => report.state === 'Available'),
    configHash,
    configError,
    collections: sum('collections'),
    bytes: sum('bytes'),
    journalBytes: sum('journalBytes'),
    urls: [...wal, ...others.flatMap((component) => reportOther(component, running)), ...added.map(reportAdded)].slice(
      0,
      urlsMax,
    ),
    assignments: allAssignments(assignments),
  };
}

function reportWal({ assignments, inForce, engine }: Omit<HoldingsOptions, 'added'>): UrlReport[] {
  const holdings = walHoldings(engine, assignments);
  return inForce.configuration.wal.urls.flatMap(({ written: url }, index): UrlReport[] => {
    const [committer, held] = [engine.committers[index], holdings[index]];
    if (committer === undefined || held === undefined) return [];
    const { state, reason } = committer.managed;
    const { collections, files, bytes, journalBytes } = held;
    return [{ url, state, reason, collections, files, bytes, journalBytes }];
  });
}

function reportAdded({ url, reason }: AddedUrlReport): UrlReport {
  return { url: url.written, state: 'Pending', reason, collections: 0, files: 0, bytes: 0, journalBytes: 0 };
}

function reportOther(component: Component, { assignments, inForce }: Omit<HoldingsOptions, 'added'>): UrlReport[] {
  const configured = inForce.configuration.components.get(component)?.urls ?? [];
  return assignments.statistics(component).map(({ managed, collections, bytes }): UrlReport => {
    const { index, reason, state } = managed;
    return {
      url: configured[index]?.written ?? managed.url,
      state,
      reason,
      collections,
      files: 0,
      bytes,
      journalBytes: 0,
    };
  });
}

function* allAssignments(assignments: AssignmentService): Generator<AssignmentReport> {
  for (const component of assignments.components()) {
    for (const { collection, url } of assignments.list(component)) yield { component, collection, url };
  }
}
