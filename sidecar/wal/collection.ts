/**
 * One collection at run time. Its positions, and what must hold of them at every moment:
 *
 *   checkpoint ≤ published < nextGiven
 *
 *   checkpoint   the highest sequence no longer needed; durable before anybody sees it
 *   published    the highest sequence that can be read: its frame is durable, and so are all below (R2)
 *   nextGiven    the sequence that the next appended entry gets; goes back to published + 1 when a commit fails (E4)
 *
 * Everything between checkpoint and published stands in a segment, or in memory and the journal: a crash after the reply for
 * `published` finds it in one of the two, since a flush publishes its segment before the journal may forget.
 */
import type { Assignment } from '../assignment/assignment.ts';
import type { CommitRange } from './commit.ts';
import type { Committer } from './committer.ts';
import { CollectionMemory } from './memory.ts';
import type { SegmentFile } from './segment-file.ts';

/** A reader that waits for an entry at or above `from`. */
export interface Waiter {
  readonly from: number;
  readonly wake: () => void;
}

export class Collection {
  readonly assignment: Assignment;
  /** The name of its directory below the URL. */
  readonly directory: string;
  /** Who commits its entries: its URL's. */
  readonly home: Committer;
  memory = new CollectionMemory();
  /** In order of their ranges, without overlap beyond what recovery found. */
  segments: SegmentFile[] = [];
  checkpoint = 0;
  published = 0;
  nextGiven = 1;
  /** Encoded bytes of the entries between checkpoint and published. */
  liveBytes = 0;
  lastAppendUs = 0;
  /** Why it takes and gives nothing; empty if all is well (E21). */
  damage = '';
  /** The journal file with its newest state record, if one is needed. */
  stateFile: number | undefined;
  /** Set when its drop has begun: nothing new is taken. */
  isDropping = false;
  /** Set when its drop is durable: until then the journal needs all of it, or a crash would leave a part (E12). */
  isDropped = false;
  /** Its sequences in the commit that it entered last. */
  commitRange: CommitRange | undefined;
  /** Waits in a flush queue. */
  isFlushQueued = false;
  readonly waiters = new Set<Waiter>();
  /** Flush, trim and drop of one collection go one after the other. */
  #maintenance: Promise<unknown> = Promise.resolve();

  constructor(assignment: Assignment, directory: string, home: Committer) {
    this.assignment = assignment;
    this.directory = directory;
    this.home = home;
  }

  get name(): string {
    return this.assignment.collection;
  }

  get incarnation(): string {
    return this.assignment.incarnation;
  }

  get entries(): number {
    return this.published - this.checkpoint;
  }

  /** The highest sequence that stands in a segment (or is trimmed): the journal is not needed for it. */
  get flushed(): number {
    return Math.max(this.checkpoint, this.segments.at(-1)?.range.last ?? 0);
  }

  /** Runs `work` after all earlier maintenance of this collection. */
  async maintain<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#maintenance.then(work);
    this.#maintenance = result.catch(() => undefined);
    return result;
  }

  wakeWaiters(): void {
    for (const waiter of this.waiters) if (waiter.from <= this.published || this.isDropping) waiter.wake();
  }
}
