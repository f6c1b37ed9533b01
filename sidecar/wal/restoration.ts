/**
 * The second half of recovery: from what was surveyed and replayed to collections, a new epoch, and nothing left of what was dropped
 * (steps 3 to 5 of recovery.ts).
 */
import type { Logger } from 'pino';
import { type CollectionFile, collectionFileName, createCollectionFile } from '../assignment/collection-file.ts';
import { escapeCollection } from '../assignment/directory-name.ts';
import type { AssignmentService } from '../assignment/service.ts';
import type { SyncMode } from '../config/configuration.ts';
import { storageError, WalError } from '../errors.ts';
import type { Replay } from '../journal/replay.ts';
import type { MemoryBudget } from './budget.ts';
import { Collection } from './collection.ts';
import type { Committer } from './committer.ts';
import { deleteDirectory } from './dropped-directory.ts';
import { type OldJournal, startEpoch } from './epoch.ts';
import { mendSegments } from './mend.ts';
import { hadEntries, type MergedIncarnation, mergeTraces, type Trace } from './merge.ts';
import { withProgress } from './progress.ts';
import { measureEntries } from './reader.ts';
import type { ReplayedJournal } from './replayed.ts';
import type { Shelf, Survey, SurveyedSegment } from './survey.ts';

export interface RecoveryOptions {
  readonly committers: readonly Committer[];
  readonly assignments: AssignmentService;
  readonly budget: MemoryBudget;
  readonly logger: Logger;
  readonly newIncarnation: () => string;
  readonly now: () => Date;
  readonly journalFileBytesMax: number;
  readonly syncMode: SyncMode;
  /** What each URL's journal left: filled here, used when an epoch is started later. */
  readonly oldJournals: Map<Committer, OldJournal>;
  /** Whether a collection of that name is served already: the URL came back after the others were recovered. */
  readonly isServed: (name: string) => boolean;
  /** Names of dropped incarnations by incarnation, of URLs that were recovered before (E12). */
  readonly dropsInForce: ReadonlyMap<string, string>;
}

export interface Surveyed {
  readonly committer: Committer;
  readonly survey: Survey;
}

export interface Replayed extends Surveyed {
  readonly replay: Replay<ReplayedJournal>;
}

/** An incarnation and what is found of it. */
interface Candidate {
  readonly incarnation: string;
  readonly traces: Trace[];
}

/** A drop whose storage could not be deleted: the name's next incarnation waits for it (E13). */
export interface UnfinishedDrop {
  readonly name: string;
  readonly incarnation: string;
  readonly committer: Committer;
  readonly directory: string;
  readonly segmentNames: readonly string[];
  /** Another URL's journal may still tell of the incarnation: the record is in force until a restart. */
  readonly isShared: boolean;
}

/** Restores the collections of the URLs it is given. `merge`, `startEpochs` and `clear`, each once, in that order. */
export class Restoration {
  readonly #options: RecoveryOptions;
  readonly #urls: readonly Replayed[];
  readonly #drops = new Map<string, string>();
  /** `isAlone`: the directory is not the next incarnation's, too. */
  readonly #dropped: (Omit<UnfinishedDrop, 'isShared'> & { readonly isAlone: boolean })[] = [];
  /** Dropped incarnations of which other URLs' journals may still tell. */
  readonly #sharedDrops = new Set<string>();
  readonly #void: { collection: Collection; segments: readonly SurveyedSegment[] }[] = [];

  constructor(options: RecoveryOptions, urls: readonly Replayed[]) {
    this.#options = options;
    this.#urls = urls;
    for (const [incarnation, name] of options.dropsInForce) this.#drops.set(incarnation, name);
    for (const { replay: found } of urls) {
      for (const [incarnation, name] of found.handler?.drops ?? []) this.#drops.set(incarnation, name);
    }
  }

  async merge(): Promise<Map<string, Collection>> {
    const collections = new Map<string, Collection>();
    const byName = this.#candidates();
    this.#refuseServed(byName.keys());
    for (const [name, candidates] of byName) {
      const collection = await this.#restore(name, [...candidates.values()]);
      collections.set(name, collection);
      collection.home.collections.add(collection);
    }
    this.#holdDrops();
    for (const { committer } of this.#urls) await this.#options.assignments.urlListed(committer.managed);
    return collections;
  }

  /** What is served is not merged with what came back late: that takes a restart (E22, E23). */
  #refuseServed(names: Iterable<string>): void {
    for (const name of names) {
      if (!this.#options.isServed(name)) continue;
      const remedy = 'restart the sidecar, which merges the two';
      throw new WalError(
        'UNAVAILABLE',
        `it holds the collection ${JSON.stringify(name)}, served from elsewhere: ${remedy}`,
      );
    }
  }

  /**
   * A drop record outlives every older file and segment of its incarnation, on every URL (E12). The new epoch takes over those
   * that have storage left, or entries in another URL's journal, or that a URL which isn't there now may have.
   */
  #holdDrops(): void {
    const isWhole = this.#urls.length === this.#options.committers.length;
    const stored = new Set(this.#dropped.map(({ incarnation }) => incarnation));
    for (const { committer, replay: found } of this.#urls) {
      const others = this.#urls.filter((url) => url.committer !== committer);
      for (const [incarnation, name] of found.handler?.drops ?? []) {
        const isShared = !isWhole || others.some((url) => url.replay.handler?.collections.has(incarnation));
        if (isShared) this.#sharedDrops.add(incarnation);
        if (isShared || stored.has(incarnation)) committer.use.drops.set(incarnation, { name, file: 0 });
      }
    }
  }

  /** Deletes what drop records and other segments have made void; resolves with the drops that could not be finished. */
  async clear(): Promise<UnfinishedDrop[]> {
    const unfinished: UnfinishedDrop[] = [];
    for (const { isAlone, ...drop } of this.#dropped) {
      try {
        if (drop.committer.managed.state === 'Unavailable') throw new Error(drop.committer.managed.reason);
        await withProgress(async () => this.#clearDropped(drop, isAlone), drop);
      } catch (error) {
        if (isAlone) unfinished.push({ ...drop, isShared: this.#sharedDrops.has(drop.incarnation) });
        else this.#sharedDrops.add(drop.incarnation);
        this.#warn(drop.committer, error, 'deleting a dropped collection failed');
      }
    }
    await this.#endDrops(new Set(unfinished.map(({ incarnation }) => incarnation)));
    for (const { collection, segments } of this.#void) {
      for (const { file } of segments) {
        await file.storage
          .remove(file.directory, [file.range.name])
          .catch((error: unknown) => this.#warn(collection.home, error, 'deleting a void segment failed'));
      }
    }
    return unfinished;
  }

  async #clearDropped(drop: Omit<UnfinishedDrop, 'isShared'>, isAlone: boolean): Promise<void> {
    const { committer, directory, segmentNames } = drop;
    if (isAlone) await deleteDirectory(committer, directory, segmentNames, this.#options.logger);
    else await committer.storage.remove(directory, segmentNames);
  }

  /** Records of drops that are finished are needed no longer. */
  async #endDrops(unfinished: ReadonlySet<string>): Promise<void> {
    for (const { committer } of this.#urls) {
      const { drops } = committer.use;
      const finished = [...drops.keys()].filter((key) => !unfinished.has(key) && !this.#sharedDrops.has(key));
      for (const incarnation of finished) drops.delete(incarnation);
      if (finished.length > 0) await this.#options.assignments.urlListed(committer.managed);
    }
  }

  /** A URL that holds nothing starts its epoch with its first collection: until then no other names it (E25). */
  async startEpochs(): Promise<void> {
    await Promise.all(
      this.#urls.map(async ({ committer }) => {
        const { managed, use } = committer;
        const old = this.#options.oldJournals.get(committer);
        if (old === undefined || managed.state !== 'Recovering') return;
        const isEmpty = committer.collections.size === 0 && committer.guests.size === 0 && use.drops.size === 0;
        try {
          if (isEmpty) {
            // Its first append starts the epoch; the thread for it starts now.
            committer.storage.prepareLogs();
          } else {
            const { journalFileBytesMax, syncMode } = this.#options;
            committer.journal = await withProgress(
              async (_, onProgress) => startEpoch(committer, old, journalFileBytesMax, syncMode, onProgress),
              committer,
            );
          }
          committer.setState('Available', '');
        } catch (error) {
          const { code, message } = storageError(error, `${managed.url} could not be recovered`);
          this.#warn(committer, error, 'the new epoch could not be written');
          committer.setState(code === 'NOSPACE' ? 'Full' : 'Unavailable', message);
        }
      }),
    );
  }

  /** Every undropped incarnation of every name, with its traces. */
  #candidates(): Map<string, Map<string, Candidate>> {
    const byName = new Map<string, Map<string, Candidate>>();
    const add = (name: string, incarnation: string, trace: Trace): void => {
      const candidates = byName.get(name) ?? new Map<string, Candidate>();
      const candidate = candidates.get(incarnation) ?? { incarnation, traces: [] };
      candidate.traces.push(trace);
      candidates.set(incarnation, candidate);
      byName.set(name, candidates);
    };
    for (const url of this.#urls) {
      const rest = new Map(url.replay.handler?.collections);
      for (const shelf of url.survey.shelves) this.#addShelf(url, shelf, rest, add);
      for (const [incarnation, replayed] of rest) {
        if (this.#drops.has(incarnation)) continue;
        const doubt = doubtOf(url);
        add(replayed.name, incarnation, { committer: url.committer, shelf: undefined, segments: [], replayed, doubt });
      }
    }
    return byName;
  }

  #addShelf(
    url: Replayed,
    shelf: Shelf,
    rest: Map<string, NonNullable<Trace['replayed']>>,
    add: (name: string, incarnation: string, trace: Trace) => void,
  ): void {
    const name = shelf.collection ?? nameInside(shelf, rest.values());
    if (name === undefined) {
      const { logger } = this.#options;
      logger.error(
        { url: url.committer.managed.url, directory: shelf.directory },
        'a collection without a readable name',
      );
      return;
    }
    const incarnations = this.#incarnationsOf(url, shelf, name);
    const isAlone = [...incarnations.keys()].every((incarnation) => this.#drops.has(incarnation));
    for (const [incarnation, segments] of incarnations) {
      if (this.#drops.has(incarnation)) {
        const segmentNames = segments.map(({ file }) => file.range.name);
        const drop = { name, incarnation, committer: url.committer, directory: shelf.directory, segmentNames };
        this.#dropped.push({ ...drop, isAlone });
        continue;
      }
      add(name, incarnation, {
        committer: url.committer,
        shelf,
        segments,
        replayed: rest.get(incarnation),
        doubt: doubtOf(url),
      });
      rest.delete(incarnation);
    }
  }

  /** The incarnations in a directory: what `_collection.json` says, else the segments, else the journal, else a new one. */
  #incarnationsOf(url: Replayed, shelf: Shelf, name: string): Map<string, SurveyedSegment[]> {
    const found = new Map<string, SurveyedSegment[]>();
    const own =
      shelf.incarnation ??
      shelf.segments.find(({ header }) => header !== undefined)?.header?.incarnation ??
      [...(url.replay.handler?.collections.values() ?? [])].find((replayed) => replayed.name === name)?.incarnation ??
      // A drop that was interrupted between its last two steps leaves an empty directory.
      (shelf.segments.length === 0 ? this.#droppedIncarnation(name) : undefined) ??
      this.#options.newIncarnation();
    found.set(own, []);
    for (const segment of shelf.segments) {
      const incarnation = segment.header?.incarnation ?? own;
      const list = found.get(incarnation);
      if (list === undefined) found.set(incarnation, [segment]);
      else list.push(segment);
    }
    return found;
  }

  #droppedIncarnation(name: string): string | undefined {
    for (const [incarnation, dropped] of this.#drops) if (dropped === name) return incarnation;
    return undefined;
  }

  async #restore(name: string, candidates: readonly Candidate[]): Promise<Collection> {
    const live = this.#choose(name, candidates);
    const [first] = live;
    if (first === undefined) throw new Error(`no incarnation of ${name}`);
    const merged = await this.#mend(name, first, mergeTraces(first.traces));
    const collection = await this.#register(name, first, merged);
    if (live.length > 1) {
      const incarnations = live.map((candidate) => candidate.incarnation).join(', ');
      collection.damage = `two undropped incarnations are found (${incarnations}); remove the one that is wrong`;
    }
    if (collection.damage !== '') this.#setAside(live.flatMap((candidate) => candidate.traces));
    return collection;
  }

  /** Gives lost segments back what the old journal still has of them, before that goes. */
  async #mend(name: string, { incarnation, traces }: Candidate, merged: MergedIncarnation): Promise<MergedIncarnation> {
    const home = traces.find(({ shelf }) => shelf !== undefined);
    if (home?.shelf === undefined) return merged;
    const { storage } = home.committer;
    const request = {
      collection: name,
      incarnation,
      storage,
      directory: home.shelf.directory,
      checkpoint: merged.checkpoint,
      segments: traces.flatMap(({ segments }) => segments),
      parts: traces.flatMap(({ replayed: found }) => found?.parts ?? []),
    };
    try {
      const mended = await withProgress(async () => mendSegments(request), home);
      if (mended.length === 0) return merged;
      const segments = mended.map(({ file }) => file.range.name);
      this.#options.logger.warn(
        { url: storage.url, collection: name, segments },
        'segments were mended from the journal',
      );
      const others = home.segments.filter((segment) => !segments.includes(segment.file.range.name));
      return mergeTraces([{ ...home, segments: [...others, ...mended] }, ...traces.filter((trace) => trace !== home)]);
    } catch (error) {
      this.#warn(home.committer, error, 'a lost segment could not be mended from the journal, which is kept aside');
      this.#setAside(traces);
      return merged;
    }
  }

  /**
   * The new epoch gets what of a damaged collection is without a gap. The rest may be all that a repair has: where damage is
   * found first, the journals that hold the collection are kept aside (E21).
   */
  #setAside(traces: readonly Trace[]): void {
    if (traces.some(({ replayed: found }) => found?.isDamageKnown)) return;
    for (const { committer, replayed: found } of traces) {
      const old = this.#options.oldJournals.get(committer);
      if (old !== undefined && found !== undefined) old.damagedFiles = new Set(old.files);
    }
  }

  /** E22: of several undropped incarnations those without an entry give way. */
  #choose(name: string, candidates: readonly Candidate[]): Candidate[] {
    if (candidates.length === 1) return [...candidates];
    const withEntries = candidates.filter((candidate) => hadEntries(candidate.traces));
    const live = withEntries.length === 0 ? candidates.slice(0, 1) : withEntries;
    for (const { incarnation } of candidates.filter((candidate) => !live.includes(candidate))) {
      this.#options.logger.warn({ collection: name, incarnation }, 'an incarnation without entries gave way');
    }
    return live;
  }

  async #register(name: string, candidate: Candidate, merged: MergedIncarnation): Promise<Collection> {
    const { home } = merged;
    const { incarnation, traces } = candidate;
    const shelf = traces.find((trace) => trace.committer === home)?.shelf;
    const assignedAt = shelf?.assignedAt ?? this.#options.now().toISOString();
    const known = { collection: name, incarnation, assignedAt };
    const saved = shelf?.incarnation !== undefined || (await this.#saveCollection(home, known, hadEntries(traces)));
    const recorded = { collection: name, managed: home.managed, incarnation, assignedAt, saved };
    const assignment = this.#options.assignments.record('wal', recorded);
    const collection = new Collection(assignment, escapeCollection(name), home);
    collection.memory = merged.memory;
    this.#options.budget.add(home.managed.index, merged.memory.capacityBytes);
    collection.segments = merged.segments.map(({ file }) => file);
    collection.checkpoint = merged.checkpoint;
    collection.published = merged.published;
    collection.nextGiven = merged.published + 1;
    collection.damage = (saved ? undefined : shelf?.damaged) ?? merged.damage;
    if (merged.voidSegments.length > 0) this.#void.push({ collection, segments: merged.voidSegments });
    for (const { committer } of traces) if (committer !== home) committer.guests.add(collection);
    collection.liveBytes = await liveBytes(collection);
    home.liveBytes += collection.liveBytes;
    return collection;
  }

  /**
   * A directory found without `_collection.json` gets one, and so does one whose file cannot be understood if the log proves the
   * incarnation; where that fails, the assignment service tries again at use.
   */
  async #saveCollection(home: Committer, file: CollectionFile, isProven: boolean): Promise<boolean> {
    const directory = escapeCollection(file.collection);
    try {
      const stored = await createCollectionFile(home.storage, file).catch((error: unknown) => {
        if (isProven && error instanceof WalError && error.code === 'DAMAGED') return undefined;
        throw error;
      });
      if (stored?.incarnation === file.incarnation) return true;
      // It names an incarnation that gave way (E22), or nothing that can be read.
      this.#options.logger.warn({ url: home.managed.url, directory }, `${collectionFileName} is written anew`);
      await home.storage.remove(directory, [collectionFileName]);
      await createCollectionFile(home.storage, file);
      return true;
    } catch (error) {
      this.#warn(home, error, `${collectionFileName} of a collection could not be made`);
      return false;
    }
  }

  #warn(committer: Committer, error: unknown, what: string): void {
    this.#options.logger.warn({ url: committer.managed.url, err: error }, what);
  }
}

function nameInside(shelf: Shelf, journaled: Iterable<{ readonly name: string }>): string | undefined {
  const header = shelf.segments.find((segment) => segment.header !== undefined)?.header;
  if (header !== undefined) return header.collection;
  for (const { name } of journaled) if (escapeCollection(name) === shelf.directory) return name;
  return undefined;
}

function doubtOf({ committer, replay: found }: Replayed): string {
  const damage = found.handler?.unknownDamage;
  if (damage === undefined) return '';
  return `the journal of ${committer.managed.url} is damaged in ${damage.file} at offset ${damage.offset}, and nothing proves that no entry was lost there`;
}

/** Encoded bytes above the checkpoint; where a segment that it cuts can't be read, the whole one's. */
async function liveBytes(collection: Collection): Promise<number> {
  const { checkpoint, published, segments, memory } = collection;
  return measureEntries(collection, checkpoint + 1, published).catch(() =>
    segments.reduce((sum, segment) => sum + segment.encodedBytes, memory.usedBytes),
  );
}
