/**
 * Which of several replicas may write (O9): the one whose name stands in a Lease, for as long as it has renewed it.
 *
 *     holder    send renewal                                     deadline: the term is over
 *               t ├────── renewed again every 2 s ──────────► t + 6 s ┤
 *     others        s ├── the record changed; seen by them at s ≥ t ─────────────── s + 9 s ┤ one takes it
 *                                                                     └──── 3 s ────┘
 *
 * - Each side counts on its own monotonic clock, so clocks that differ do no harm. The holder counts from before the
 *   request that renewed was sent, the others from when they saw what it wrote: their end is never before its end.
 * - At the deadline a term is over for good, whatever has become of a renewal on its way. The clock counts, not a timer:
 *   in a process that was stopped and continued, timers come late, so each write looks at the clock (`remainingMs`, a
 *   Fence of the client) right before it is sent. Their answers are waited for until the deadline, not longer.
 * - A request sent right before the deadline may still arrive after it; the 3 s until another may take the lease are
 *   for that. Without a fence in the API server itself nothing more can be had: a process stopped between its look at
 *   the clock and the system call that sends, or a network that holds a request for over 3 s, defeats any lease.
 * - Nobody takes or renews a record other than the one he saw: writes are bound to its version.
 * - An identity is one process: a container started again under the same pod name is somebody else.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type ApiClient, ApiError, type Fence } from './client.ts';
import { asObject, collectionPath, type Lease, type LeaseSpec, leases, microTime, objectPath } from './kubernetes.ts';

/** The monotonic clock. */
export interface Clock {
  /** Milliseconds. */
  now(): number;
  /** Resolves after so long, later if the process was held up, or when the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface ElectionOptions {
  /** Its writes must not be fenced by this election. */
  readonly client: Pick<ApiClient, 'get' | 'create' | 'replace'>;
  /** Of the Lease. */
  readonly namespace: string;
  /** Of this process, and no other. */
  readonly identity: string;
  readonly logger: Logger;
  readonly clock?: Clock;
}

const leaseName = 'walstorage-operator';
/** How long others wait since they saw the record change. */
const leaseMs = 9_000;
/** How long the holder may write since it sent what renewed. */
const renewMs = 6_000;
const retryMs = 2_000;
/** Of one request: a second one must fit before the deadline. */
const requestMs = 2_000;

const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => wait(ms, undefined, { signal }).catch(() => undefined),
};

export class Election implements Fence {
  readonly #options: ElectionOptions;
  readonly #clock: Clock;
  readonly #path: string;
  /** The record as last seen, and when it was first seen so. */
  #seen: { readonly lease: Lease; readonly atMs: number } | undefined;
  /** Until when this process may write. */
  #deadlineMs = Number.NEGATIVE_INFINITY;

  constructor(options: ElectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#path = objectPath(leases, options.namespace, leaseName);
  }

  /** How long this process may still write, in milliseconds; 0 or less: it may not. */
  get remainingMs(): number {
    return this.#deadlineMs - this.#clock.now();
  }

  /** How often the lease has changed hands, as its record says; undefined before it has been seen. */
  get transitions(): number | undefined {
    return this.#seen === undefined ? undefined : (this.#seen.lease.spec?.leaseTransitions ?? 0);
  }

  /** Since the record was seen to change, in milliseconds; undefined before it has been seen. */
  get leaseAgeMs(): number | undefined {
    return this.#seen === undefined ? undefined : this.#clock.now() - this.#seen.atMs;
  }

  /**
   * Takes part until the signal. In each term of this process it calls `lead`, whose signal aborts when the term is
   * over, and waits until `lead` has ended before it asks for another. When `lead` ends in good time, the lease is
   * given back, so that the next needn't wait. Rejects with what `lead` rejects with.
   */
  async run(signal: AbortSignal, lead: (term: AbortSignal) => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      if (await this.#take(signal)) await this.#lead(signal, lead);
      else await this.#clock.sleep(this.#pauseMs(), signal);
    }
  }

  async #lead(signal: AbortSignal, lead: (term: AbortSignal) => Promise<void>): Promise<void> {
    const { identity, logger } = this.#options;
    const term = new AbortController();
    const stop = (): void => term.abort();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    logger.info({ identity, transitions: this.transitions }, 'this replica leads');
    const kept = Promise.all([this.#endAtDeadline(term), this.#keep(term)]);
    try {
      await lead(term.signal);
    } finally {
      stop();
      signal.removeEventListener('abort', stop);
      await kept;
      const isHeld = this.remainingMs > 0;
      this.#deadlineMs = Number.NEGATIVE_INFINITY;
      if (isHeld) await this.#giveBack();
      logger.info({ identity }, 'this replica no longer leads');
    }
  }

  async #endAtDeadline(term: AbortController): Promise<void> {
    while (!term.signal.aborted) {
      const leftMs = this.remainingMs;
      if (leftMs > 0) await this.#clock.sleep(leftMs, term.signal);
      else this.#over(term, 'the lease was not renewed in time');
    }
  }

  /** Renews until the term is over; ends it where the lease turns out to be another's. */
  async #keep(term: AbortController): Promise<void> {
    while (!term.signal.aborted && this.remainingMs > 0) {
      await this.#clock.sleep(retryMs, term.signal);
      if (!(await this.#renew(term.signal))) this.#over(term, 'the lease is no longer ours');
    }
  }

  #over(term: AbortController, why: string): void {
    this.#deadlineMs = Number.NEGATIVE_INFINITY;
    if (term.signal.aborted) return;
    const { identity, logger } = this.#options;
    logger.warn({ identity, holder: this.#holder }, `the term is over: ${why}`);
    term.abort();
  }

  /** Tries to renew; what fails is tried again later. Returns whether the lease is still ours as far as is known. */
  async #renew(signal: AbortSignal): Promise<boolean> {
    const held = this.#seen?.lease;
    if (held === undefined) return false;
    if (signal.aborted || this.remainingMs <= 0) return true;
    try {
      const sentMs = await this.#hold(held, signal);
      // An answer that comes after the deadline doesn't bring the term back to life.
      if (this.remainingMs > 0) this.#deadlineMs = sentMs + renewMs;
      return true;
    } catch (error) {
      if (signal.aborted) return true;
      this.#options.logger.warn({ err: error }, 'the lease could not be renewed');
      // Whether that was carried out is not known, or somebody else wrote.
      await this.#read(signal).catch(() => undefined);
      return this.#holder === this.#options.identity;
    }
  }

  /** One look at the lease, and an attempt to take it where that is allowed. Returns whether this process leads. */
  async #take(signal: AbortSignal): Promise<boolean> {
    const { identity, logger } = this.#options;
    const holder = this.#holder;
    try {
      const found = await this.#read(signal);
      if (this.#untilFreeMs > 0) {
        if (this.#holder !== holder) logger.info({ identity, holder: this.#holder }, 'this replica follows');
        return false;
      }
      this.#deadlineMs = (await this.#hold(found, signal)) + renewMs;
      return this.remainingMs > 0;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) logger.info({ identity }, 'another replica was faster');
      else if (!signal.aborted) logger.warn({ err: error }, 'the lease could not be read or taken');
      return false;
    }
  }

  /** Who holds the lease, as last seen; empty: nobody. */
  get #holder(): string {
    return this.#seen?.lease.spec?.holderIdentity ?? '';
  }

  /** How long the record last seen keeps us from taking the lease. */
  get #untilFreeMs(): number {
    if (this.#seen === undefined || this.#holder === '' || this.#holder === this.#options.identity) return 0;
    const { leaseDurationSeconds = leaseMs / 1000 } = this.#seen.lease.spec ?? {};
    return this.#seen.atMs + leaseDurationSeconds * 1000 - this.#clock.now();
  }

  #pauseMs(): number {
    const freeMs = this.#untilFreeMs;
    return freeMs > 0 ? Math.min(retryMs, freeMs) : retryMs;
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      const found = asObject<Lease>(await this.#options.client.get(this.#path, {}, signal, requestMs));
      this.#see(found);
      return found;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        this.#seen = undefined;
        return undefined;
      }
      throw error;
    }
  }

  #see(lease: Lease): void {
    const isSame = this.#seen?.lease.metadata.resourceVersion === lease.metadata.resourceVersion;
    if (!isSame) this.#seen = { lease, atMs: this.#clock.now() };
  }

  /**
   * Writes our name into the record, which must be as it was read; `found` undefined: into a new one. Returns when that
   * was sent.
   */
  async #hold(found: Lease | undefined, signal: AbortSignal): Promise<number> {
    const { identity } = this.#options;
    const { holderIdentity = '', leaseTransitions = 0, acquireTime } = found?.spec ?? {};
    const isOurs = holderIdentity === identity;
    // For people who read the record; nothing here counts on it.
    const renewTime = microTime(new Date());
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: leaseMs / 1000,
      acquireTime: isOurs ? (acquireTime ?? renewTime) : renewTime,
      renewTime,
      leaseTransitions: isOurs || found === undefined ? leaseTransitions : leaseTransitions + 1,
    };
    const sentMs = this.#clock.now();
    await this.#write(found, spec, signal);
    return sentMs;
  }

  async #giveBack(): Promise<void> {
    const { logger } = this.#options;
    const held = this.#seen?.lease;
    if (held === undefined) return;
    const renewTime = microTime(new Date());
    const spec = { ...held.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime };
    // The signal of this process has aborted by now.
    await this.#write(held, spec, new AbortController().signal).catch((error: unknown) =>
      logger.warn({ err: error }, 'the lease could not be given back: the next waits until it has run out'),
    );
  }

  async #write(found: Lease | undefined, spec: LeaseSpec, signal: AbortSignal): Promise<void> {
    const { client, namespace } = this.#options;
    const kind = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' };
    const stored =
      found === undefined
        ? await client.create(
            collectionPath(leases, namespace),
            { ...kind, metadata: { name: leaseName, namespace }, spec },
            signal,
            requestMs,
          )
        : await client.replace(this.#path, { ...found, spec }, signal, requestMs);
    this.#see(asObject<Lease>(stored));
  }
}
