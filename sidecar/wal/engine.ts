/**
 * The WAL engine: collections by name over the committers of their URLs. What each part promises stands at the top of its file:
 * committer (group commit), flusher (segments), reader, recovery, epoch. This file ties them together and does what concerns
 * a collection's life: its creation, checkpoint and drop.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Assignment, ManagedUrl } from '../assignment/assignment.ts';
import { escapeCollection } from '../assignment/directory-name.ts';
import type { AssignmentService } from '../assignment/service.ts';
import type { WalConfiguration } from '../config/configuration.ts';
import { asWalError, storageError, WalError } from '../errors.ts';
import { dropRecord } from '../journal/frame.ts';
import { MemoryBudget } from './budget.ts';
import type { Clock } from './clock.ts';
import { Collection } from './collection.ts';
import { Committer } from './committer.ts';
import { Deletion } from './deletion.ts';
import { deleteDirectory } from './dropped-directory.ts';
import { type OldJournal, startEpoch } from './epoch.ts';
import { Flusher, journalFileBytesMax } from './flusher.ts';
import { exportEntries, measureEntries, readEntries } from './reader.ts';
import { recover } from './recovery.ts';
import type { UnfinishedDrop } from './restoration.ts';
import type { AppendDone, CollectionStatistics, ReadOptions, Wal, WalEntry } from './wal.ts';

/** A URL that was full is tried again so often, and counts as having room from the lesser of these two on. */
const probeMs = 1_000;
const roomBytes = 64 * 1024 * 1024;
const roomShare = 0.1;
/** E24: at shutdown only what fits into this is flushed. */
const shutdownFlushMs = 1_000;
const flushesAtOnce = 8;

export interface EngineOptions {
  readonly urls: readonly ManagedUrl[];
  readonly configuration: WalConfiguration;
  readonly assignments: AssignmentService;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** An append whose collection isn't there yet, or is being dropped. */
interface EarlyAppend {
  readonly nextSequence: number | undefined;
  readonly fields: readonly Buffer[];
  readonly done: AppendDone;
}

export class WalEngine implements Wal {
  readonly committers: readonly Committer[];
  readonly flusher: Flusher;
  readonly budget: MemoryBudget;
  readonly #options: EngineOptions;
  /** In force: that of the options, until `reconfigure`. */
  #configuration: WalConfiguration;
  readonly #collections = new Map<string, Collection>();
  readonly #early = new Map<string, EarlyAppend[]>();
  readonly #oldJournals = new Map<Committer, OldJournal>();
  /** Storage of dropped incarnations that is still to be deleted, by name: under several URLs if it was moved about. */
  readonly #deletions = new Map<string, Set<Deletion>>();
  readonly #probing = new Set<Committer>();
  #probeTimer: NodeJS.Timeout | undefined;
  #syncTimer: NodeJS.Timeout | undefined;

  private constructor(options: EngineOptions) {
    this.#options = options;
    const { configuration, urls } = options;
    this.#configuration = configuration;
    this.budget = new MemoryBudget(configuration.globalFlushThresholdBytes, urls.length);
    this.committers = urls.map((managed) => this.#committerOf(managed));
    this.flusher = new Flusher({
      configuration,
      committers: this.committers,
      budget: this.budget,
      logger: options.logger,
    });
  }

  /** Recovers what lies under the URLs; resolves when every URL is recovered or declared to be in another state. */
  static async open(options: EngineOptions): Promise<WalEngine> {
    const engine = new WalEngine(options);
    await engine.#recover();
    return engine;
  }

  /**
   * Takes over another configuration's sizes, compression and sync interval while it runs; URLs and sync mode stay those
   * that it was opened with. Under a lower threshold appends wait until flushes have freed what is over it.
   */
  reconfigure(configuration: WalConfiguration): void {
    const { syncMode, urls } = this.#configuration;
    this.#configuration = { ...configuration, syncMode, urls };
    this.budget.resize(configuration.globalFlushThresholdBytes);
    const fileBytesMax = journalFileBytesMax(this.#configuration, this.#options.urls.length);
    for (const { journal } of this.committers) if (journal !== undefined) journal.fileBytesMax = fileBytesMax;
    this.flusher.reconfigure(this.#configuration);
    for (const committer of this.committers) committer.retryWaiting();
    this.#startSyncs();
  }

  append(name: string, nextSequence: number | undefined, fields: readonly Buffer[], done: AppendDone): void {
    const collection = this.#collections.get(name);
    const isReady = collection !== undefined && !collection.isDropping;
    if (isReady) collection.home.append(collection, nextSequence, fields, done);
    else this.#appendEarly(name, { nextSequence, fields, done });
  }

  async read(name: string, from: number, options: ReadOptions): Promise<WalEntry[] | undefined> {
    return readEntries(this.#find(name), from, options);
  }

  async export(name: string, from: number, bytes: number): Promise<Buffer> {
    return exportEntries(this.#find(name), from, bytes);
  }

  async checkpoint(name: string, sequence: number): Promise<number> {
    const collection = this.#find(name);
    const checkpoint = await collection.maintain(async () => this.#checkpointNow(collection, sequence));
    void this.flusher.trim(collection).catch((error: unknown) => this.#warn(collection, error, 'trimming failed'));
    return checkpoint + 1;
  }

  async flush(name: string | undefined): Promise<number> {
    if (name !== undefined) return this.#flushOne(this.#find(name));
    let entries = 0;
    const waiting = [...this.#collections.values()].filter((collection) => !collection.memory.isEmpty);
    const work = Array.from({ length: flushesAtOnce }, async () => {
      for (let collection = waiting.pop(); collection !== undefined; collection = waiting.pop()) {
        // Not `entries += await …`: that reads the sum before the wait, and loses what others add meanwhile.
        const flushed = await this.flusher.flush(collection);
        entries += flushed;
      }
    });
    await Promise.all(work);
    return entries;
  }

  async #flushOne(collection: Collection): Promise<number> {
    if (collection.damage !== '') throw new WalError('DAMAGED', collection.damage);
    return this.flusher.flush(collection);
  }

  /** Compaction comes later: nothing is removed. */
  async compact(name: string | undefined): Promise<number> {
    if (name !== undefined) this.#find(name);
    return 0;
  }

  async drop(name: string): Promise<number> {
    const collection = this.#find(name);
    if (collection.isDropping) throw notFound(name);
    const { home, incarnation } = collection;
    const recorded = home.record(collection, dropRecord);
    // From here on nothing enters a commit behind the record.
    collection.isDropping = true;
    try {
      const file = await recorded;
      home.use.drops.set(incarnation, { name, file });
    } catch (error) {
      collection.isDropping = false;
      this.#resumeEarly(name, collection);
      throw error;
    }
    return this.#finishDrop(collection);
  }

  statistics(name: string): CollectionStatistics {
    const collection = this.#find(name);
    const { assignment, checkpoint, incarnation, memory, published, segments } = collection;
    return {
      collection: name,
      url: assignment.url,
      path: assignment.path,
      incarnation,
      firstSequence: checkpoint + 1,
      nextSequence: published + 1,
      checkpoint,
      entries: collection.entries,
      bytes: collection.liveBytes,
      memoryBytes: memory.usedBytes,
      segments: segments.length,
      lastAppendUs: collection.lastAppendUs,
    };
  }

  *collections(): IterableIterator<string> {
    for (const { collection } of this.#options.assignments.list('wal')) yield collection;
  }

  /** Damaged collections, with why. */
  *damages(): IterableIterator<{ collection: string; damage: string }> {
    for (const { name, damage } of this.#collections.values()) if (damage !== '') yield { collection: name, damage };
  }

  /** Shutdown (E24): what was received is answered; the rest is as after kill -9, but for what could be flushed in a second. */
  async close(): Promise<void> {
    await Promise.all(this.committers.map((committer) => committer.idle()));
    if (this.#configuration.syncMode !== 'Always') {
      await Promise.allSettled(this.committers.map((committer) => committer.sync()));
    }
    const deadlineMs = this.#options.clock.monotonicMs() + shutdownFlushMs;
    for (const collection of this.#collections.values()) {
      if (this.#options.clock.monotonicMs() > deadlineMs) break;
      await this.flusher.flush(collection).catch((error: unknown) => this.#warn(collection, error, 'a flush failed'));
    }
    await this.flusher.idle();
    this.abandon();
    await Promise.all(this.committers.map((committer) => committer.close()));
  }

  /** Ends the timers and waits for nothing: what is under way is left as a kill leaves it. */
  abandon(): void {
    clearInterval(this.#probeTimer);
    clearInterval(this.#syncTimer);
    for (const committer of this.committers) committer.abandon();
  }

  #committerOf(managed: ManagedUrl): Committer {
    const { clock, logger } = this.#options;
    const committer: Committer = new Committer({
      managed,
      clock,
      budget: this.budget,
      startEpoch: async () => {
        await this.#options.assignments.known('wal').ensureNamed(managed);
        const old = this.#oldJournals.get(committer);
        if (old === undefined) throw new WalError('UNAVAILABLE', `${managed.url} is not recovered`);
        return startEpoch(
          committer,
          old,
          journalFileBytesMax(this.#configuration, this.#options.urls.length),
          this.#configuration.syncMode,
          () => undefined,
        );
      },
      onPublished: (touched) => this.flusher.afterPublish(committer, touched),
      onPressure: (bytes) => this.flusher.makeRoom(bytes),
      reroute: ({ collection, nextSequence, fields, done }) =>
        this.#appendEarly(collection.name, { nextSequence, fields, done }),
      onState: ({ url, state, reason }) => {
        const isAvailable = state === 'Available';
        logger[isAvailable ? 'info' : 'warn']({ url, state, reason }, 'the state of a WAL URL changed');
        if (isAvailable) this.flusher.resume(committer);
      },
    });
    return committer;
  }

  async #recover(): Promise<void> {
    this.#options.assignments.attachWal({
      beforeCreate: async (name) => {
        for (const deletion of this.#deletions.get(name) ?? []) await deletion.finish();
      },
      remove: async (name) => this.#unassign(name),
      failed: (managed, error) => this.#urlFailed(managed, error),
      bytes: (managed) => this.committers[managed.index]?.liveBytes ?? 0,
      holdsOthers: (managed) => {
        const committer = this.committers[managed.index];
        return committer !== undefined && (committer.guests.size > 0 || committer.use.drops.size > 0);
      },
    });
    await this.#recoverUrls(this.committers);
    this.#startTimers();
  }

  /** Recovers URLs that were not before, and serves what they hold. */
  async #recoverUrls(committers: readonly Committer[]): Promise<void> {
    const { assignments, clock, logger, urls } = this.#options;
    const configuration = this.#configuration;
    const drops = this.committers.flatMap(({ use }) => [...use.drops]);
    const recovered = await recover({
      committers,
      assignments,
      budget: this.budget,
      logger,
      newIncarnation: () => randomBytes(16).toString('hex'),
      now: () => new Date(clock.nowUs() / 1000),
      journalFileBytesMax: journalFileBytesMax(configuration, urls.length),
      syncMode: configuration.syncMode,
      oldJournals: this.#oldJournals,
      isServed: (name) => this.#collections.has(name),
      dropsInForce: new Map(drops.map(([incarnation, { name }]) => [incarnation, name])),
    });
    for (const [name, collection] of recovered.collections) this.#collections.set(name, collection);
    for (const drop of recovered.unfinishedDrops) this.#deletionOf(drop);
    for (const committer of committers) this.flusher.resume(committer);
  }

  /** A URL that was Missing or failed at the start is looked for again; one that failed later waits for a restart. */
  async #probeReturn(committer: Committer): Promise<void> {
    const { managed } = committer;
    if (this.#probing.has(committer) || this.#oldJournals.has(committer) || managed.storage === undefined) return;
    this.#probing.add(committer);
    try {
      if (await this.#options.assignments.known('wal').recheck(managed)) await this.#recoverUrls([committer]);
    } catch (error) {
      const failure = asWalError(error, 'UNAVAILABLE', `${managed.url} could not be recovered`);
      committer.setState('Unavailable', failure.message);
    } finally {
      this.#probing.delete(committer);
    }
  }

  #startTimers(): void {
    this.#probeTimer = setInterval(() => {
      for (const committer of this.committers) {
        const { state } = committer.managed;
        if (state === 'Full') void this.#probeSpace(committer);
        if (state === 'Missing' || state === 'Unavailable') void this.#probeReturn(committer);
      }
    }, probeMs);
    this.#probeTimer.unref();
    this.#startSyncs();
  }

  #startSyncs(): void {
    clearInterval(this.#syncTimer);
    const { syncIntervalMs, syncMode } = this.#configuration;
    if (syncMode !== 'Periodic') return;
    this.#syncTimer = setInterval(() => {
      for (const committer of this.committers) {
        committer.sync().catch((err: unknown) => this.#options.logger.error({ err }, 'a periodic sync failed'));
      }
    }, syncIntervalMs);
    this.#syncTimer.unref();
  }

  async #probeSpace(committer: Committer): Promise<void> {
    if (this.#probing.has(committer)) return;
    this.#probing.add(committer);
    try {
      const { freeBytes, totalBytes } = await committer.storage.space();
      const hasRoom = freeBytes >= Math.min(roomBytes, roomShare * totalBytes);
      if (hasRoom && committer.managed.state === 'Full') committer.setState('Available', '');
    } catch (error) {
      committer.setState('Unavailable', asWalError(error, 'UNAVAILABLE', 'its free space cannot be read').message);
    } finally {
      this.#probing.delete(committer);
    }
  }

  /** The collection of that name. NOTFOUND; UNAVAILABLE while it might live under a URL that isn't there (E26). */
  #find(name: string): Collection {
    const collection = this.#collections.get(name);
    // One whose drop is not durable yet is there for everybody (R2).
    if (collection !== undefined) return collection;
    const assignment = this.#options.assignments.get('wal', name);
    if (assignment === undefined) throw notFound(name);
    return this.#adopt(assignment);
  }

  /** A collection that was assigned and has no entry yet. */
  #adopt(assignment: Assignment): Collection {
    const { collection: name, index } = assignment;
    const known = this.#collections.get(name);
    if (known !== undefined) return known;
    const home = this.committers[index];
    if (home === undefined) throw new Error(`no WAL URL ${index}`);
    const collection = new Collection(assignment, escapeCollection(name), home);
    this.#collections.set(name, collection);
    home.collections.add(collection);
    return collection;
  }

  #appendEarly(name: string, append: EarlyAppend): void {
    const waiting = this.#early.get(name);
    if (waiting !== undefined) {
      waiting.push(append);
      return;
    }
    const collection = this.#collections.get(name);
    if (collection !== undefined && !collection.isDropping) {
      // It waited for room under an incarnation that was dropped and followed by this one meanwhile.
      collection.home.append(collection, append.nextSequence, append.fields, append.done);
      return;
    }
    this.#early.set(name, [append]);
    if (collection === undefined) void this.#create(name); // else the end of the drop goes on
  }

  async #create(name: string): Promise<void> {
    try {
      this.#resumeEarly(name, this.#adopt(await this.#options.assignments.assign('wal', name)));
    } catch (error) {
      const failure = asWalError(error, 'UNAVAILABLE', `the collection ${JSON.stringify(name)} could not be created`);
      const waiting = this.#early.get(name) ?? [];
      this.#early.delete(name);
      for (const { done } of waiting) done(failure, 0);
    }
  }

  #resumeEarly(name: string, collection: Collection): void {
    const waiting = this.#early.get(name) ?? [];
    this.#early.delete(name);
    for (const { nextSequence, fields, done } of waiting)
      collection.home.append(collection, nextSequence, fields, done);
  }

  async #checkpointNow(collection: Collection, sequence: number): Promise<number> {
    const { checkpoint, damage, home, name, published } = collection;
    if (collection.isDropping) throw notFound(name);
    if (damage !== '') throw new WalError('DAMAGED', damage);
    if (sequence <= checkpoint) return checkpoint;
    if (sequence > published) {
      const rule = `a checkpoint is at most the last durable sequence, ${published}`;
      throw new WalError('INVALID', `checkpoint ${sequence} of ${JSON.stringify(name)}: ${rule}`);
    }
    const trimmedBytes = await measureEntries(collection, checkpoint + 1, sequence).catch(() => 0);
    // A state record behind the drop's could outlive it, and bring the incarnation back (E12).
    if (collection.isDropping) throw notFound(name);
    const record = { kind: 'state', nextSequence: published + 1, checkpoint: sequence, damage: '' } as const;
    collection.stateFile = await home.record(collection, record);
    collection.checkpoint = sequence;
    collection.liveBytes -= trimmedBytes;
    home.liveBytes -= trimmedBytes;
    return sequence;
  }

  /** The drop is durable: the collection is gone for everybody; its storage goes afterwards (E12). */
  #finishDrop(collection: Collection): number {
    const { home, name, incarnation, directory, entries } = collection;
    collection.isDropped = true;
    this.#collections.delete(name);
    home.collections.delete(collection);
    const hosts = this.committers.filter(({ guests }) => guests.delete(collection));
    home.liveBytes -= collection.liveBytes;
    collection.wakeWaiters();
    const deletion = this.#deletionOf({
      name,
      incarnation,
      committer: home,
      directory,
      segmentNames: [],
      isShared: hosts.length > 0,
      collection,
      hosts,
    });
    this.#options.assignments.dropped('wal', name);
    deletion.finish().catch((error: unknown) => this.#warn(collection, error, 'deleting a dropped collection failed'));
    if (this.#early.has(name)) void this.#create(name);
    return entries;
  }

  /** `hosts`: other URLs that have something of the collection (E23). */
  #deletionOf(
    drop: UnfinishedDrop & { readonly collection?: Collection; readonly hosts?: readonly Committer[] },
  ): Deletion {
    const { collection, committer, directory, hosts = [], name, incarnation } = drop;
    const deletion = new Deletion(async () => {
      await committer.secure();
      await collection?.maintain(async () => this.flusher.clearMemory(collection));
      const segments = collection?.segments ?? [];
      await Promise.all(segments.map((segment) => segment.unused()));
      for (const place of [...hosts, committer]) {
        const here = segments.filter((segment) => segment.storage === place.storage).map(({ range }) => range.name);
        const names = place === committer ? [...drop.segmentNames, ...here] : here;
        await deleteDirectory(place, directory, names, this.#options.logger);
      }
      if (!drop.isShared) committer.use.drops.delete(incarnation);
      this.#deletions.get(name)?.delete(deletion);
      if (this.#deletions.get(name)?.size === 0) this.#deletions.delete(name);
      this.flusher.freeJournal(committer);
      // E25: a URL whose last collection is gone is named no longer.
      await this.#options.assignments.urlListed(committer.managed);
    });
    const ofName = this.#deletions.get(name) ?? new Set();
    this.#deletions.set(name, ofName.add(deletion));
    return deletion;
  }

  async #unassign(name: string): Promise<boolean> {
    if (this.#options.assignments.get('wal', name) === undefined) return false;
    const collection = this.#find(name);
    if (collection.nextGiven - 1 > collection.checkpoint) {
      const remedy = 'checkpoint or drop it first';
      throw new WalError('INVALID', `the collection ${JSON.stringify(name)} has entries: ${remedy}`);
    }
    await this.drop(name);
    return true;
  }

  #urlFailed(managed: ManagedUrl, error: unknown): void {
    const { code, message } = storageError(error, managed.url);
    this.committers[managed.index]?.setState(code === 'NOSPACE' ? 'Full' : 'Unavailable', message);
  }

  #warn(collection: Collection, error: unknown, what: string): void {
    this.#options.logger.warn({ url: collection.home.managed.url, err: error }, what);
  }
}

function notFound(name: string): WalError {
  return new WalError('NOTFOUND', `there is no collection ${JSON.stringify(name)}; an append creates it`);
}
