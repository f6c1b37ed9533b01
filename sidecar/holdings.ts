/** What the WAL's URLs hold, for whoever shows it: counted anew at each call. */
import type { AssignmentService } from './assignment/service.ts';
import type { WalEngine } from './wal/engine.ts';

export interface UrlHoldings {
  readonly collections: number;
  /** Segments. */
  readonly files: number;
  /** Encoded bytes of live entries, unflushed included. */
  readonly bytes: number;
  readonly journalBytes: number;
  /** What unflushed entries occupy in memory. */
  readonly memoryBytes: number;
}

/** Of each WAL URL, in the order of the configuration. */
export function walHoldings(engine: WalEngine, assignments: AssignmentService): UrlHoldings[] {
  const assigned = assignments.statistics('wal');
  return engine.committers.map(({ collections, journal, liveBytes }, index) => {
    let files = 0;
    let memoryBytes = 0;
    for (const { memory, segments } of collections) {
      files += segments.length;
      memoryBytes += memory.capacityBytes;
    }
    return {
      collections: assigned[index]?.collections ?? 0,
      files,
      bytes: liveBytes,
      journalBytes: journal?.bytes ?? 0,
      memoryBytes,
    };
  });
}
