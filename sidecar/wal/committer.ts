/**
 * Group commit of one URL (E1–E5): while one commit is made durable the next fills; when it is durable its entries are
 * published, its appends answered, and the next one leaves at the end of this turn of the event loop. Nothing waits when idle.
 *
 *   append → [waiting for room] → filling → in flight → durable → published, answered
 *
 * An append gets its sequences when it enters the filling commit. When a commit fails, every append that has sequences gets
 * the error, and the sequences are given out again (E4).
 */
import type { ManagedUrl } from '../assignment/assignment.ts';
import { asWalError, WalError } from '../errors.ts';
import type { FrameRecord } from '../journal/frame.ts';
import type { Journal } from '../journal/journal.ts';
import type { Storage } from '../storage/storage.ts';
import type { MemoryBudget } from './budget.ts';
import type { Clock } from './clock.ts';
import type { Collection } from './collection.ts';
import { type Append, appendBytesMax, Commit, type FilledBatch } from './commit.ts';
import { JournalUse } from './journal-use.ts';
import type { AppendDone } from './wal.ts';

/** How much a commit takes: more fill it only when a single append is larger. */
const commitBytes = 2 * 1024 * 1024;
const commitBatchesMax = 20_000;
/** An append that finds no room, or a conflict that cannot be decided, is given up after this. */
export const waitLimitMs = 30_000;
/** A commit that takes longer makes the URL Stalled; commits under the second figure for the third make it Available again. */
const stallMs = 1_000;
const healthyCommitMs = 100;
const healthyForMs = 15_000;

export interface CommitterOptions {
  readonly managed: ManagedUrl;
  readonly clock: Clock;
  readonly budget: MemoryBudget;
  /** Starts this process's epoch of the journal; called before the first frame. */
  readonly startEpoch: () => Promise<Journal>;
  /** Called with the collections that got entries: flushes are decided there. */
  readonly onPublished: (touched: Iterable<{ readonly collection: Collection }>) => void;
  /** Called when an append waits because so many bytes more do not fit into the budget: flushes are to make room. */
  readonly onPressure: (bytes: number) => void;
  /** Called with an append whose collection is being dropped: it waits for the next incarnation (E13). */
  readonly reroute: (append: Append) => void;
  /** Called when the URL's state changed. */
  readonly onState: (managed: ManagedUrl) => void;
}

/** An append whose next-seq didn't match while lower sequences were not durable yet (E5). */
interface Conflict {
  readonly append: Append;
  /** The next sequence when it came: once all below is durable, it can be answered, whatever was given out since. */
  readonly given: number;
}

export class Committer {
  readonly managed: ManagedUrl;
  readonly use = new JournalUse();
  /** Collections whose home this is. */
  readonly collections = new Set<Collection>();
  /** Collections of another home whose entries stand in this URL's journal, too (E23). */
  readonly guests = new Set<Collection>();
  /** Encoded bytes of live entries of its collections. */
  liveBytes = 0;
  journal: Journal | undefined;
  readonly #options: CommitterOptions;
  #filling = new Commit(commitBytes);
  #spare = new Commit(commitBytes);
  #inFlight: Commit | undefined;
  #waiting: Append[] = [];
  #conflicts: Conflict[] = [];
  #scheduled = false;
  #timer: NodeJS.Timeout | undefined;
  #commitStartedMs = 0;
  #healthySinceMs = 0;
  #idle: (() => void)[] = [];
  #syncs: ((error: Error | undefined) => void)[] = [];

  constructor(options: CommitterOptions) {
    this.#options = options;
    this.managed = options.managed;
  }

  get storage(): Storage {
    const { storage, url } = this.managed;
    if (storage === undefined) throw new WalError('UNAVAILABLE', `${url}: nothing here serves its scheme yet`);
    return storage;
  }

  /** Whether the URL's storage takes writes now. */
  get canWrite(): boolean {
    return this.managed.state === 'Available' || this.managed.state === 'Stalled';
  }

  /** What is received and not answered yet. */
  get pendingAppends(): number {
    return (
      this.#waiting.length +
      this.#conflicts.length +
      this.#filling.batches.length +
      (this.#inFlight?.batches.length ?? 0)
    );
  }

  /** Takes an append for a collection whose home this is. */
  append(collection: Collection, nextSequence: number | undefined, fields: readonly Buffer[], done: AppendDone): void {
    const append: Append = {
      collection,
      nextSequence,
      fields,
      bytesMax: appendBytesMax(fields),
      deadlineMs: this.#options.clock.monotonicMs() + waitLimitMs,
      done,
    };
    if (this.#waiting.length > 0) this.#wait(append);
    else this.#offer(append);
  }

  /** A record that is durable when this resolves with the number of its journal file. */
  async record(collection: RecordedCollection, record: Omit<FrameRecord, 'collection'>): Promise<number> {
    const refusal = this.#refusal();
    if (refusal?.code === 'UNAVAILABLE') throw refusal;
    return new Promise<number>((resolve, reject) => {
      const settle = (error: Error | undefined, file: number): void => (error ? reject(error) : resolve(file));
      this.#filling.records.push({ name: collection.name, incarnation: collection.incarnation, record, settle });
      this.#schedule();
    });
  }

  /** Memory or space was freed: what waits may go on. */
  retryWaiting(): void {
    this.#admitWaiting();
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    if (this.#isIdle()) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Everything that was answered is on the disk when this resolves: for the sync modes that answer before that. */
  async sync(): Promise<void> {
    if (this.journal === undefined) return;
    await new Promise<void>((resolve, reject) => {
      this.#syncs.push((error) => (error ? reject(error) : resolve()));
      this.#schedule();
    });
  }

  /** Records that were answered are on the disk when this resolves: before that, no storage goes that they let go (E12). */
  async secure(): Promise<void> {
    if (this.journal?.durableWrites === false) await this.sync();
  }

  /** Sets the URL's state. What waits without sequences is judged by it: refused, or admitted when it is Available again. */
  setState(state: ManagedUrl['state'], reason: string): void {
    if (this.managed.state === state) return;
    this.managed.state = state;
    this.managed.reason = reason;
    this.#options.onState(this.managed);
    this.#admitWaiting();
    this.#judgeConflicts();
  }

  /** Ends the timer. */
  abandon(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async close(): Promise<void> {
    await this.journal?.close();
  }

  #offer(append: Append): void {
    const { collection } = append;
    if (collection.isDropping) return this.#options.reroute(append);
    const refusal = this.#refusal() ?? collectionRefusal(collection);
    if (refusal !== undefined) return append.done(refusal, 0);
    if (append.nextSequence !== undefined && append.nextSequence !== collection.nextGiven)
      return this.#conflict(append);
    if (!this.#hasRoom(append)) {
      if (!this.#isAffordable(append)) this.#options.onPressure(append.bytesMax);
      return this.#wait(append);
    }
    const first = collection.nextGiven;
    this.#filling.fill(append, first, this.#options.clock.nowUs());
    collection.nextGiven = first + append.fields.length / 3;
    this.#options.budget.add(this.managed.index, append.bytesMax);
    this.#schedule();
  }

  #refusal(): WalError | undefined {
    const { state, url, reason } = this.managed;
    if (this.canWrite) return undefined;
    if (state === 'Full') return new WalError('NOSPACE', reason);
    if (state === 'Fenced') return new WalError('FENCED', reason);
    return new WalError('UNAVAILABLE', `${url} is ${state}: ${reason}`);
  }

  #hasRoom(append: Append): boolean {
    return (
      this.#filling.hasRoom(append.bytesMax) &&
      this.#filling.batches.length < commitBatchesMax &&
      this.#isAffordable(append)
    );
  }

  #isAffordable(append: Append): boolean {
    return this.#options.budget.admits(this.managed.index, append.bytesMax, this.canWrite);
  }

  #wait(append: Append): void {
    this.#waiting.push(append);
    this.#watch();
  }

  #admitWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const [index, append] of waiting.entries()) {
      this.#offer(append);
      if (this.#waiting.length === 0) continue;
      this.#waiting.push(...waiting.slice(index + 1));
      return;
    }
    this.#settleIdle();
  }

  /** CONFLICT is answered only when everything below the number that it names is durable (interfaces, `next-seq`). */
  #conflict(append: Append): void {
    const { nextGiven, published } = append.collection;
    if (published + 1 === nextGiven) return append.done(conflictAt(nextGiven), 0);
    this.#conflicts.push({ append, given: nextGiven });
    this.#watch();
  }

  #judgeConflicts(): void {
    if (this.#conflicts.length === 0) return;
    const conflicts = this.#conflicts;
    this.#conflicts = [];
    for (const conflict of conflicts) this.#judgeConflict(conflict);
  }

  #judgeConflict({ append, given }: Conflict): void {
    const { collection, nextSequence } = append;
    const next = collection.published + 1;
    const isWaiting = next !== collection.nextGiven && nextSequence !== collection.nextGiven;
    if (!isWaiting || collection.isDropping || this.#refusal() !== undefined) this.#offer(append);
    // Others go on appending: their sequences are not waited for, or it would never be answered.
    else if (next >= given && next !== nextSequence) append.done(conflictAt(next), 0);
    else this.#conflicts.push({ append, given });
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight !== undefined) return;
    this.#scheduled = true;
    // After the sockets that are readable in this turn of the event loop: their appends share the commit.
    setImmediate(() => {
      this.#scheduled = false;
      void this.#run();
    });
  }

  async #run(): Promise<void> {
    const commit = this.#filling;
    const syncs = this.#syncs.splice(0);
    this.#filling = this.#spare;
    this.#inFlight = commit;
    this.#admitWaiting();
    if (!commit.isEmpty) await this.#writeCommit(commit);
    if (syncs.length > 0) await this.#syncJournal(syncs);
    this.#inFlight = undefined;
    commit.reset(commitBytes);
    this.#spare = commit;
    this.#admitWaiting();
    if (!this.#filling.isEmpty || this.#syncs.length > 0) this.#schedule();
    this.#settleIdle();
  }

  async #writeCommit(commit: Commit): Promise<void> {
    this.#commitStartedMs = this.#options.clock.monotonicMs();
    this.#watch();
    try {
      this.journal ??= await this.#options.startEpoch();
      const file = await this.journal.write(commit.content(), commit.body);
      this.#measureHealth();
      this.#publish(commit, file);
    } catch (error) {
      this.#fail(commit, asWalError(error, 'UNAVAILABLE', this.managed.url));
    }
  }

  async #syncJournal(syncs: ((error: Error | undefined) => void)[]): Promise<void> {
    let failure: WalError | undefined;
    try {
      await this.journal?.sync();
    } catch (error) {
      failure = asWalError(error, 'UNAVAILABLE', this.managed.url);
      this.#failCommit(this.#filling, failure);
      this.setState('Unavailable', failure.message);
    }
    for (const settle of syncs) settle(failure);
  }

  /** E4: the commit, and the one that was filling behind it, get the error; their sequences are given out again. */
  #fail(commit: Commit, failure: WalError): void {
    this.#failCommit(commit, failure);
    this.#failCommit(this.#filling, failure);
    this.setState(failure.code === 'NOSPACE' ? 'Full' : 'Unavailable', failure.message);
    this.#judgeConflicts();
  }

  #publish(commit: Commit, file: number): void {
    const body = commit.body;
    this.use.note(file, commit.ranges);
    for (const batch of commit.batches) this.#publishBatch(batch, body);
    for (const record of commit.records) record.settle(undefined, file);
    for (const { collection } of commit.ranges) if (collection.waiters.size > 0) collection.wakeWaiters();
    this.#judgeConflicts();
    this.#options.onPublished(commit.ranges);
  }

  #publishBatch(batch: FilledBatch, body: Buffer): void {
    const { collection, first, count, offset, bytes } = batch;
    const last = first + count - 1;
    if (collection.published !== first - 1) throw new Error(`${first} published after ${collection.published}`);
    const before = collection.memory.capacityBytes;
    collection.memory.append({ first, count, bytes: body.subarray(offset, offset + bytes) });
    this.#options.budget.add(this.managed.index, collection.memory.capacityBytes - before - batch.reservedBytes);
    collection.published = last;
    collection.liveBytes += bytes;
    this.liveBytes += bytes;
    collection.lastAppendUs = batch.timestampUs;
    batch.done(undefined, last);
  }

  #failCommit(commit: Commit, error: WalError): void {
    const batches = commit.batches.splice(0);
    const records = commit.records.splice(0);
    for (const { collection, reservedBytes } of batches) {
      collection.nextGiven = collection.published + 1;
      this.#options.budget.add(this.managed.index, -reservedBytes);
    }
    commit.reset(commitBytes);
    for (const batch of batches) batch.done(error, 0);
    for (const record of records) record.settle(error, 0);
  }

  #settleIdle(): void {
    if (this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #isIdle(): boolean {
    return this.#inFlight === undefined && this.#filling.isEmpty && this.#waiting.length === 0;
  }

  /** A slow tick while something is on its way: deadlines and stalls are seen by it. */
  #watch(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#tick(), 250);
    this.#timer.unref();
  }

  #tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#inFlight !== undefined && nowMs - this.#commitStartedMs > stallMs && this.managed.state === 'Available') {
      this.#healthySinceMs = nowMs;
      this.setState('Stalled', `a commit has taken over ${stallMs} ms: the disk is slow or hangs`);
    }
    if (this.#inFlight !== undefined) this.#measureHealth();
    this.#leaveStall(nowMs);
    this.#expire(nowMs);
    const isQuiet = this.#isIdle() && this.#conflicts.length === 0 && this.managed.state !== 'Stalled';
    if (!isQuiet) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #expire(nowMs: number): void {
    const expired = [...this.#waiting, ...this.#conflicts.map(({ append }) => append)];
    this.#waiting = this.#waiting.filter((append) => append.deadlineMs > nowMs);
    this.#conflicts = this.#conflicts.filter(({ append }) => append.deadlineMs > nowMs);
    const waited = `waited ${waitLimitMs / 1000} s for ${this.managed.url}`;
    for (const append of expired) {
      if (append.deadlineMs <= nowMs) append.done(new WalError('UNAVAILABLE', `the append ${waited}; try it again`), 0);
    }
    this.#settleIdle();
  }

  /** Notes that the commit under way, or just done, is no healthy one. */
  #measureHealth(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#commitStartedMs > healthyCommitMs) this.#healthySinceMs = nowMs;
  }

  /** No commit was slow for a while, or there was none: new collections may be assigned here again. */
  #leaveStall(nowMs: number): void {
    if (this.managed.state === 'Stalled' && nowMs - this.#healthySinceMs >= healthyForMs)
      this.setState('Available', '');
  }
}

/** What a record names. */
export interface RecordedCollection {
  readonly name: string;
  readonly incarnation: string;
}

function conflictAt(next: number): WalError {
  return new WalError('CONFLICT', String(next));
}

function collectionRefusal(collection: Collection): WalError | undefined {
  return collection.damage === '' ? undefined : new WalError('DAMAGED', collection.damage);
}
