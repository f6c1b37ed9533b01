/**
 * A queue of keys to work on.
 *
 * - A key waits at most once, however often it is added, and is worked on by one worker at a time: added while it is
 *   worked on, it waits until that is over.
 * - Work that throws is done again after a pause that doubles with each failure in a row; a success resets it. Work
 *   that returns a number of milliseconds is done again after them.
 * - `addAfter` keeps the earliest time asked for. `add` goes before any pause. `addSpaced` leaves some time since the
 *   key was last worked on: the first of many adds is worked on at once, and those that soon follow together.
 * - Keys are taken between `start` and `shutdown`, which may follow each other again and again; else they are dropped.
 *   `shutdown` drops what waits and resolves when what runs has ended.
 */
import { type Backoff, pauseMs } from './backoff.ts';

export interface WorkQueueOptions {
  /** Does the work of a key; may return in how many milliseconds it is to be done again. */
  readonly work: (key: string) => Promise<number | undefined>;
  /** Told of each failure: how many there were in a row, and the pause that follows. */
  readonly onFailure: (key: string, error: unknown, failures: number, waitMs: number) => void;
  /** How many keys are worked on at once. */
  readonly workers: number;
  readonly backoff: Backoff;
  /** What `addSpaced` leaves between two works of a key. */
  readonly spacingMs: number;
}

interface Delayed {
  readonly atMs: number;
  readonly timer: NodeJS.Timeout;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  /** In order of arrival. */
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  /** Added while they run. */
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #failures = new Map<string, number>();
  /** When the work of a key has ended: those of the last `spacingMs`, the oldest first. */
  readonly #endedMs = new Map<string, number>();
  #open = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** How many keys wait for a worker; those that wait for a time aren't counted. */
  get depth(): number {
    return this.#waiting.size + this.#again.size;
  }

  /** Whether it is started, and nothing waits, runs, or waits for a time. */
  get idle(): boolean {
    return this.#open && this.depth === 0 && this.#running.size === 0 && this.#delayed.size === 0;
  }

  /** Begins to take keys and to work. */
  start(): void {
    this.#open = true;
  }

  /** The key is worked on as soon as a worker is free. */
  add(key: string): void {
    if (!this.#open) return;
    this.#undelay(key);
    if (this.#running.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#dispatch();
  }

  /** The key is added in `ms` milliseconds, or earlier if an earlier time was asked for. */
  addAfter(key: string, ms: number): void {
    if (!this.#open || this.#waiting.has(key) || this.#again.has(key)) return;
    const atMs = performance.now() + ms;
    const delayed = this.#delayed.get(key);
    if (delayed !== undefined && delayed.atMs <= atMs) return;
    this.#undelay(key);
    this.#delayed.set(key, { atMs, timer: setTimeout(() => this.add(key), ms) });
  }

  /** The key is added at once, or as soon as it was last worked on `spacingMs` ago. */
  addSpaced(key: string): void {
    const sinceMs = performance.now() - (this.#endedMs.get(key) ?? Number.NEGATIVE_INFINITY);
    if (sinceMs < this.#options.spacingMs) this.addAfter(key, this.#options.spacingMs - sinceMs);
    else this.add(key);
  }

  /** Takes nothing more, drops what waits, and resolves when what runs has ended. */
  async shutdown(): Promise<void> {
    this.#open = false;
    this.#waiting.clear();
    this.#again.clear();
    this.#failures.clear();
    for (const key of this.#delayed.keys()) this.#undelay(key);
    await Promise.all(this.#running.values());
  }

  #undelay(key: string): void {
    clearTimeout(this.#delayed.get(key)?.timer);
    this.#delayed.delete(key);
  }

  #dispatch(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#options.workers) return;
      this.#waiting.delete(key);
      this.#running.set(
        key,
        Promise.resolve().then(() => this.#run(key)),
      );
    }
  }

  async #run(key: string): Promise<void> {
    try {
      const againMs = await this.#options.work(key);
      this.#failures.delete(key);
      if (againMs !== undefined) this.addAfter(key, againMs);
    } catch (error) {
      this.#failed(key, error);
    }
    this.#running.delete(key);
    this.#ended(key);
    if (this.#again.delete(key)) this.add(key);
    this.#dispatch();
  }

  #ended(key: string): void {
    const nowMs = performance.now();
    for (const [other, atMs] of this.#endedMs) {
      if (nowMs - atMs < this.#options.spacingMs) break;
      this.#endedMs.delete(other);
    }
    this.#endedMs.delete(key);
    this.#endedMs.set(key, nowMs);
  }

  #failed(key: string, error: unknown): void {
    if (!this.#open) return;
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const waitMs = pauseMs(this.#options.backoff, failures);
    this.#options.onFailure(key, error, failures, waitMs);
    this.addAfter(key, waitMs);
  }
}
