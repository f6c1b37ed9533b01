/**
 * Moves entries from memory into segments, trims what checkpoints made needless, and frees journal files (E7–E9, E12).
 *
 * When a collection is flushed: its unflushed bytes reach `memory_flush_size_bytes`; or all together reach 75 % of
 * `global_flush_threshold`, largest first; or the journal of its URL is over its bound and its oldest file holds the collection's entries;
 * or somebody asks.
 */
import type { Logger } from 'pino';
import type { WalConfiguration } from '../config/configuration.ts';
import { asWalError, isNoSpace, systemCode, WalError } from '../errors.ts';
import { dropRecord } from '../journal/frame.ts';
import type { MemoryBudget } from './budget.ts';
import type { Collection } from './collection.ts';
import type { Committer } from './committer.ts';
import type { EntryRun } from './memory.ts';
import { publishSegment } from './segment-file.ts';

/** Flushes under way at once for a URL: the second one computes while the first one's sync is on its way. */
const flushesPerUrl = 2;

/** Records renewed at once: they share a frame, whose header has a limit. */
const recordsAtOnce = 1000;

export interface FlusherOptions {
  readonly configuration: WalConfiguration;
  readonly committers: readonly Committer[];
  readonly budget: MemoryBudget;
  readonly logger: Logger;
}

interface UrlQueue {
  readonly waiting: Collection[];
  running: number;
  freeing: Promise<void> | undefined;
}

export class Flusher {
  readonly #options: FlusherOptions;
  readonly #queues = new Map<Committer, UrlQueue>();
  #configuration: WalConfiguration;

  constructor(options: FlusherOptions) {
    this.#options = options;
    this.#configuration = options.configuration;
    for (const committer of options.committers) {
      this.#queues.set(committer, { waiting: [], running: 0, freeing: undefined });
    }
  }

  /** Goes by another configuration's sizes and compression, and begins at once what they ask for. */
  reconfigure(configuration: WalConfiguration): void {
    this.#configuration = configuration;
    for (const committer of this.#options.committers) this.resume(committer);
    this.makeRoom(0);
  }

  /** Decides what to flush after the committer published. */
  afterPublish(committer: Committer, touched: Iterable<{ readonly collection: Collection }>): void {
    const { memoryFlushSizeBytes } = this.#configuration;
    for (const { collection } of touched) {
      if (collection.memory.unfrozenBytes >= memoryFlushSizeBytes) this.#enqueue(collection);
    }
    const { budget, committers } = this.#options;
    this.#flushLargest(budget.excessBytes((index) => committers[index]?.canWrite ?? false));
    const boundBytes = journalBytesMax(this.#configuration, committers.length);
    if ((committer.journal?.bytes ?? 0) > boundBytes) this.#flushOldest(committer);
  }

  /** Flushes so much that `bytes` more fit into the bound: below 75 % of it, a large append may find too little. */
  makeRoom(bytes: number): void {
    const { limitBytes, totalBytes } = this.#options.budget;
    this.#flushLargest(totalBytes + bytes - limitBytes);
  }

  /** Flushes what the collection has in memory now; resolves with the number of entries. Throws NOSPACE, UNAVAILABLE, DAMAGED. */
  async flush(collection: Collection): Promise<number> {
    return collection.maintain(async () => this.#flushNow(collection));
  }

  /** Deletes what lies at or below the collection's checkpoint. */
  async trim(collection: Collection): Promise<void> {
    await collection.maintain(async () => this.#trimNow(collection));
    this.freeJournal(collection.home);
  }

  /** Frees the oldest journal files that nothing needs, in the background. */
  freeJournal(committer: Committer): void {
    const queue = this.#queueOf(committer);
    if (queue.freeing !== undefined) return;
    queue.freeing = this.#freeFiles(committer)
      .catch((error: unknown) => this.#report(committer, error, 'freeing the journal failed'))
      .finally(() => {
        queue.freeing = undefined;
      });
  }

  /** Goes on after the URL became Available. */
  resume(committer: Committer): void {
    this.afterPublish(
      committer,
      Array.from(committer.collections, (collection) => ({ collection })),
    );
    this.#start(committer);
    this.freeJournal(committer);
  }

  /** Gives back the memory of a dropped collection. */
  clearMemory(collection: Collection): void {
    this.#release(collection, () => collection.memory.clear());
  }

  /** Resolves when no flush and no freeing is under way. */
  async idle(): Promise<void> {
    for (const [committer, queue] of this.#queues) {
      queue.waiting.length = 0;
      await queue.freeing;
      await Promise.all([...committer.collections].map((collection) => collection.maintain(async () => undefined)));
    }
  }

  #queueOf(committer: Committer): UrlQueue {
    const queue = this.#queues.get(committer);
    if (queue === undefined) throw new Error(`no queue for ${committer.managed.url}`);
    return queue;
  }

  #enqueue(collection: Collection): void {
    if (!isFlushable(collection)) return;
    collection.isFlushQueued = true;
    this.#queueOf(collection.home).waiting.push(collection);
    this.#start(collection.home);
  }

  #start(committer: Committer): void {
    const queue = this.#queueOf(committer);
    while (queue.running < flushesPerUrl && committer.canWrite) {
      const collection = queue.waiting.shift();
      if (collection === undefined) return;
      queue.running++;
      void this.#flushQueued(committer, queue, collection);
    }
  }

  async #flushQueued(committer: Committer, queue: UrlQueue, collection: Collection): Promise<void> {
    try {
      await collection.maintain(async () => {
        collection.isFlushQueued = false;
        return this.#flushNow(collection);
      });
    } catch (error) {
      this.#report(committer, error, 'a flush failed');
    } finally {
      queue.running--;
      this.#start(committer);
    }
  }

  async #flushNow(collection: Collection): Promise<number> {
    if (collection.isDropping || collection.damage !== '') return 0;
    const frozen = collection.memory.freeze();
    if (frozen === undefined) return 0;
    try {
      const entries = await this.#writeSegment(collection, frozen);
      this.#release(collection, () => collection.memory.dropFrozen());
      this.#afterFlush(collection);
      return entries;
    } catch (error) {
      collection.memory.thaw();
      throw this.#judge(collection.home, error);
    }
  }

  /**
   * One immutable file: temporary name, sync, rename, directory sync, all in `publish`; only then is it read (E8).
   * Resolves with the number of live entries in it: a batch that the checkpoint cuts is written whole.
   */
  async #writeSegment(collection: Collection, frozen: readonly EntryRun[]): Promise<number> {
    const { checkpoint, directory, home, name, incarnation } = collection;
    const runs = frozen.filter((run) => run.first + run.count - 1 > checkpoint);
    const [firstRun, lastRun] = [runs[0], runs.at(-1)];
    if (firstRun === undefined || lastRun === undefined) return 0;
    const range = { first: firstRun.first, last: lastRun.first + lastRun.count - 1 };
    const metadata = { collection: name, incarnation, checkpoint };
    const { compression } = this.#configuration;
    const segment = await publishSegment(home.storage, directory, range, metadata, compression, runs);
    collection.segments.push(segment);
    return range.last - Math.max(range.first - 1, checkpoint);
  }

  #afterFlush(collection: Collection): void {
    const isTrimmable = collection.segments.some((segment) => segment.range.last <= collection.checkpoint);
    if (isTrimmable)
      void this.trim(collection).catch((error: unknown) => this.#report(collection.home, error, 'trimming failed'));
    this.freeJournal(collection.home);
  }

  async #trimNow(collection: Collection): Promise<void> {
    const { checkpoint, home, directory } = collection;
    if (collection.isDropping) return;
    this.#release(collection, () => collection.memory.trim(checkpoint));
    const trimmed = collection.segments.filter((segment) => segment.range.last <= checkpoint);
    if (trimmed.length === 0) return;
    await home.secure();
    const isEntryFree = trimmed.length === 1 && trimmed[0]?.range.first === checkpoint + 1;
    if (trimmed.length === collection.segments.length) {
      if (isEntryFree) return;
      await this.#writeEntryFree(collection);
    }
    collection.segments = collection.segments.filter((segment) => !trimmed.includes(segment));
    for (const segment of trimmed) {
      await segment.unused();
      await segment.storage.remove(segment.directory, [segment.range.name]);
    }
    this.#options.logger.debug({ url: home.managed.url, directory, segments: trimmed.length }, 'segments trimmed');
  }

  /** A directory that once held a segment always holds one: durable before the last other one goes. */
  async #writeEntryFree(collection: Collection): Promise<void> {
    const { checkpoint, directory, home, name, incarnation } = collection;
    const range = { first: checkpoint + 1, last: checkpoint };
    const metadata = { collection: name, incarnation, checkpoint };
    const segment = await publishSegment(home.storage, directory, range, metadata, 'none', []);
    collection.segments.push(segment);
  }

  /** Runs a change of the collection's memory and gives back what it freed. */
  #release(collection: Collection, change: () => void): void {
    const before = collection.memory.capacityBytes;
    change();
    this.#options.budget.add(collection.home.managed.index, collection.memory.capacityBytes - before);
    for (const committer of this.#options.committers) committer.retryWaiting();
  }

  /** The largest collections, until what they hold, and what flushes under way will free, makes up for the excess (E7). */
  #flushLargest(excessBytes: number): void {
    if (excessBytes <= 0) return;
    const all = this.#options.committers
      .filter(({ canWrite }) => canWrite)
      .flatMap(({ collections }) => Array.from(collections));
    let excess = all.reduce((left, collection) => left - comingBytes(collection), excessBytes);
    if (excess <= 0) return;
    const largest = all.filter((collection) => isFlushable(collection) && !collection.memory.isEmpty);
    largest.sort((a, b) => b.memory.capacityBytes - a.memory.capacityBytes);
    for (const collection of largest) {
      if (excess <= 0) return;
      excess -= collection.memory.capacityBytes - comingBytes(collection);
      this.#enqueue(collection);
    }
  }

  #flushOldest(committer: Committer): void {
    const oldest = committer.journal?.files[0];
    if (oldest === undefined) return;
    for (const collection of committer.use.needing(oldest.number)) this.#enqueue(collection);
    this.freeJournal(committer);
  }

  /** Oldest first; state and drop records that stand only there are written again before (E9, E12). */
  async #freeFiles(committer: Committer): Promise<void> {
    const { journal, use } = committer;
    if (journal === undefined) return;
    for (;;) {
      const [oldest, next] = journal.files;
      if (oldest === undefined || next === undefined || !committer.canWrite) return;
      if (!use.needing(oldest.number).next().done) return;
      await renewRecords(committer, oldest.number);
      await committer.secure();
      await journal.removeOldest();
      use.forget(oldest.number);
    }
  }

  /** Turns a failed flush into its error, and the URL's state. */
  #judge(committer: Committer, error: unknown): WalError {
    const { url } = committer.managed;
    if (isNoSpace(error)) {
      const full = new WalError('NOSPACE', `${url} is full: a flush found no room; free or add space`, {
        cause: error,
      });
      committer.setState('Full', full.message);
      return full;
    }
    const failure = asWalError(error, 'UNAVAILABLE', `${url}: a flush failed`);
    // Nothing was opened, so nothing failed on the disk: what is in memory stays there until the next flush.
    if (['EMFILE', 'ENFILE'].includes(systemCode(error) ?? '')) return failure;
    committer.setState('Unavailable', `${failure.message}; repair the storage and restart the sidecar`);
    return failure;
  }

  #report(committer: Committer, error: unknown, what: string): void {
    this.#options.logger.error({ url: committer.managed.url, err: error }, what);
  }
}

/** E9: twice the threshold over all URLs, divided among them. */
function journalBytesMax(configuration: WalConfiguration, urls: number): number {
  return (2 * configuration.globalFlushThresholdBytes) / Math.max(1, urls);
}

/** A journal file's size: so that the bound holds at least four. */
export function journalFileBytesMax(configuration: WalConfiguration, urls: number): number {
  return Math.min(64 * 1024 * 1024, journalBytesMax(configuration, urls) / 4);
}

async function renewRecords(committer: Committer, file: number): Promise<void> {
  let renewals: Promise<void>[] = [];
  for (const collection of committer.collections) {
    if (collection.stateFile === file) renewals.push(writeState(collection));
    if (renewals.length < recordsAtOnce) continue;
    await Promise.all(renewals);
    renewals = [];
  }
  for (const [incarnation, drop] of committer.use.drops) {
    if (drop.file !== file) continue;
    const renewed = committer.record({ name: drop.name, incarnation }, dropRecord);
    renewals.push(
      renewed.then((number) => {
        drop.file = number;
      }),
    );
  }
  await Promise.all(renewals);
}

/** Writes the collection's state record; durable when it resolves. */
async function writeState(collection: Collection): Promise<void> {
  const { checkpoint, damage, home, published } = collection;
  const record = { kind: 'state', nextSequence: published + 1, checkpoint, damage } as const;
  collection.stateFile = await home.record(collection, record);
}

function isFlushable({ damage, isDropping, isFlushQueued }: Collection): boolean {
  return !isFlushQueued && !isDropping && damage === '';
}

/** What flushes that are queued or under way will free of the collection's memory. */
function comingBytes({ isFlushQueued, memory }: Collection): number {
  return isFlushQueued ? memory.capacityBytes : memory.usedBytes - memory.unfrozenBytes;
}
