/**
 * The assignments of one component. What may happen to a collection at once:
 *
 * | it is | assign | remove |
 * |---|---|---|
 * | unknown | creates: choose, name the URL (E25), make `_collection.json` durable, then reply | false |
 * | being created | waits for the same creation | waits, then removes |
 * | undecided: a creation failed after it had begun | tried again at the same URL only (E14) | removes what is there |
 * | known | the same answer for ever (R4) | removes, if nothing is there |
 * | being removed | waits, then creates | waits for the same removal |
 */
import type { Logger } from 'pino';
import { WalError } from '../errors.ts';
import type { Assignment, Component, ManagedUrl, Strategy } from './assignment.ts';
import { type CollectionFile, collectionFileName, createCollectionFile } from './collection-file.ts';
import { deadlineMsDefault } from './deadline.ts';
import { collectionNameProblem, escapeCollection } from './directory-name.ts';
import type { Found } from './discovery.ts';
import type { KnownUrls } from './known-urls.ts';
import { choose } from './strategy.ts';
import { UrlHome } from './url-home.ts';
import type { Recorded, UrlStatistics, WalHooks } from './wal-hooks.ts';

export interface ComponentOptions {
  readonly clock: () => Date;
  readonly newId: () => string;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly deadlineMs?: number;
}

interface Entry {
  readonly assignment: Assignment;
  /** Where directories of the collection are: the first is the assignment's (E23). */
  readonly homes: UrlHome[];
  saved: boolean;
  readonly damaged: string | undefined;
}

/** Creations whose outcome is unknown; with more, no other collection is created. */
const undecidedMax = 10_000;

export class ComponentAssignments {
  readonly known: KnownUrls;
  /** What the next assignment goes by. */
  strategy: Strategy;
  readonly #component: Component;
  readonly #options: ComponentOptions;
  readonly #homes: readonly UrlHome[];
  readonly #entries = new Map<string, Entry>();
  readonly #creating = new Map<string, Promise<Assignment>>();
  readonly #removing = new Map<string, Promise<boolean>>();
  readonly #undecided = new Map<string, { readonly home: UrlHome; readonly file: CollectionFile }>();
  /** Directories with a hashed name and no readable `_collection.json`: whoever names their collection finds it there. */
  readonly #unnamed = new Map<string, UrlHome>();
  #cursor = 0;
  #hooks: WalHooks | undefined;

  constructor(
    component: Component,
    urls: readonly ManagedUrl[],
    strategy: Strategy,
    known: KnownUrls,
    options: ComponentOptions,
  ) {
    this.known = known;
    this.#component = component;
    this.strategy = strategy;
    this.#options = options;
    const deadlineMs = options.deadlineMs ?? deadlineMsDefault;
    this.#homes = urls.map((managed) => new UrlHome(managed, deadlineMs, options.logger));
  }

  attach(hooks: WalHooks): void {
    this.#hooks = hooks;
  }

  async assign(collection: string): Promise<Assignment> {
    for (;;) {
      const entry = this.#entries.get(collection);
      if (entry !== undefined && (entry.saved || entry.damaged !== undefined)) return undamaged(entry);
      const creating = this.#creating.get(collection);
      if (creating !== undefined) return await creating;
      const removing = this.#removing.get(collection);
      if (removing === undefined) break;
      await removing.catch(() => false);
    }
    const creation = this.#create(collection).finally(() => this.#creating.delete(collection));
    this.#creating.set(collection, creation);
    return await creation;
  }

  get(collection: string): Assignment | undefined {
    const entry = this.#entries.get(collection);
    if (entry !== undefined) return undamaged(entry);
    const undecided = this.#undecided.get(collection);
    if (undecided !== undefined && !this.#creating.has(collection)) {
      const { url, reason } = undecided.home.managed;
      throw new WalError('UNAVAILABLE', `The collection was being assigned to ${url}, with unknown outcome: ${reason}`);
    }
    this.#refuseUnknown();
    return undefined;
  }

  record(recorded: Recorded): Assignment {
    const { collection, managed, incarnation, assignedAt, saved, damaged } = recorded;
    const home = this.#home(managed);
    home.held.add(collection);
    this.#undecided.delete(collection);
    const known = this.#entries.get(collection);
    if (known !== undefined) {
      if (!known.homes.includes(home)) known.homes.push(home);
      return known.assignment;
    }
    const { url, index } = managed;
    const path = `${url}/${escapeCollection(collection)}`;
    const assignment = { component: this.#component, collection, url, path, index, assignedAt, incarnation };
    this.#entries.set(collection, { assignment, homes: [home], saved, damaged });
    return assignment;
  }

  dropped(collection: string): void {
    const homes = this.#entries.get(collection)?.homes ?? [];
    this.#forget(collection, homes);
    void this.#settleNames();
  }

  async remove(collection: string): Promise<boolean> {
    if (this.#hooks !== undefined) return await this.#hooks.remove(collection);
    for (let creating = this.#creating.get(collection); creating; creating = this.#creating.get(collection)) {
      await creating.catch(() => undefined);
    }
    const removing = this.#removing.get(collection);
    if (removing !== undefined) return await removing;
    const removal = this.#remove(collection).finally(() => this.#removing.delete(collection));
    this.#removing.set(collection, removal);
    return await removal;
  }

  *list(): IterableIterator<Assignment> {
    for (const { assignment, damaged } of this.#entries.values()) if (damaged === undefined) yield assignment;
  }

  statistics(): UrlStatistics[] {
    return this.#homes.map((home) => {
      const bytes = this.#hooks?.bytes(home.managed) ?? home.directoryBytes();
      return { managed: home.managed, collections: home.held.size, bytes };
    });
  }

  findings(): string[] {
    const findings: string[] = [];
    for (const { assignment, homes, damaged } of this.#entries.values()) {
      if (damaged !== undefined) findings.push(damaged);
      if (homes.length > 1) {
        const others = homes.slice(1).map((home) => home.managed.url);
        const name = JSON.stringify(assignment.collection);
        findings.push(
          `The collection ${name} is under ${assignment.url}, which counts, and under ${others.join(', ')}.`,
        );
      }
    }
    for (const [directory, home] of this.#unnamed) {
      findings.push(`${home.managed.url}/${directory} has a hashed name and no readable ${collectionFileName}.`);
    }
    for (const { managed, discovery } of this.#homes) {
      for (const name of discovery?.foreign ?? []) {
        findings.push(`${managed.url}/${name} is no collection: no name of one is written so; it is left alone.`);
      }
    }
    return findings;
  }

  /** Discovers all URLs that can be used and makes them Available, in the order of the configuration (E23). */
  async discoverAll(): Promise<void> {
    const usable = this.#homes.filter(({ managed }) => !['Missing', 'Unavailable', 'Pending'].includes(managed.state));
    await Promise.all(usable.map((home) => home.discover()));
    for (const home of usable) this.#adopt(home);
    await this.#settleNames();
    await this.#saveFound();
  }

  async urlListed(managed: ManagedUrl): Promise<void> {
    this.#home(managed).listed = true;
    this.known.markListed(managed);
    await this.#settleNames();
  }

  /** Tries the URLs that aren't Available once more. Not for `wal`, whose engine does so itself. */
  async probe(): Promise<void> {
    if (this.#component === 'wal') return;
    const failed = this.#homes.filter(({ managed, storage, probing }) => {
      return storage !== undefined && !probing && ['Missing', 'Unavailable', 'Full'].includes(managed.state);
    });
    await Promise.all(failed.map((home) => this.#probe(home)));
  }

  close(): void {
    for (const home of this.#homes) home.close();
  }

  async #create(collection: string): Promise<Assignment> {
    const problem = collectionNameProblem(collection);
    if (problem !== undefined) throw new WalError('INVALID', problem);
    const entry = this.#entries.get(collection);
    const begun = this.#undecided.get(collection);
    const home =
      entry?.homes[0] ?? begun?.home ?? this.#unnamed.get(escapeCollection(collection)) ?? this.#choose(collection);
    const storage = home.usable('Available');
    const isNew = !home.held.has(collection);
    home.held.add(collection);
    try {
      if (isNew) await this.#hooks?.beforeCreate(collection, home.managed);
      await this.known.ensureNamed(home.managed);
    } catch (error) {
      if (isNew) home.held.delete(collection);
      throw error;
    }
    const file = entry === undefined ? (begun?.file ?? this.#newFile(collection)) : entry.assignment;
    // From here on the outcome of a failure is unknown: the next attempt is made here and nowhere else (E14).
    if (entry === undefined) this.#undecided.set(collection, { home, file });
    const stored = await createCollectionFile(storage, file).catch((error: unknown) => {
      throw this.#fail(home, error);
    });
    return this.#created(home, stored, entry);
  }

  #created(
    home: UrlHome,
    { collection, incarnation, assignedAt }: CollectionFile,
    entry: Entry | undefined,
  ): Assignment {
    if (entry === undefined) {
      this.#unnamed.delete(escapeCollection(collection));
      home.held.delete(unnamedKey(escapeCollection(collection)));
      return this.record({ collection, managed: home.managed, incarnation, assignedAt, saved: true });
    }
    if (entry.assignment.incarnation !== incarnation) {
      const found = `${entry.assignment.path}/${collectionFileName} names the incarnation ${incarnation}`;
      throw new WalError('DAMAGED', `${found}, and the log ${entry.assignment.incarnation}: restore the right file.`);
    }
    entry.saved = true;
    return entry.assignment;
  }

  #choose(collection: string): UrlHome {
    this.#refuseUnknown();
    if (this.#undecided.size >= undecidedMax) {
      const many = `${undecidedMax} collections of ${this.#component} wait for a failed URL`;
      throw new WalError('UNAVAILABLE', `${many}: no other one is assigned until it works.`);
    }
    const candidates = this.#homes.map((home) => home.candidate(this.#hooks?.bytes(home.managed)));
    const index = choose(this.strategy, collection, candidates, this.#cursor);
    const home = this.#homes.find(({ managed }) => managed.index === index);
    if (home !== undefined) {
      this.#cursor = home.managed.index + 1;
      return home;
    }
    const reasons = this.#homes.map(({ managed }) => `${managed.url} is ${managed.state}: ${managed.reason}`);
    const full = this.#homes.every(({ managed }) => managed.state === 'Full');
    throw new WalError(
      full ? 'NOSPACE' : 'UNAVAILABLE',
      `No URL of ${this.#component} takes collections. ${reasons.join(' ')}`,
    );
  }

  #refuseUnknown(): void {
    const blocked = this.known.blockedBy();
    if (blocked !== undefined) throw new WalError('UNAVAILABLE', `The collection is not known here. ${blocked}`);
  }

  #newFile(collection: string): CollectionFile {
    return { collection, incarnation: this.#options.newId(), assignedAt: this.#options.clock().toISOString() };
  }

  #fail(home: UrlHome, error: unknown): WalError {
    if (error instanceof WalError && error.code === 'DAMAGED') return error;
    if (this.#hooks === undefined) return home.fail(error);
    this.#hooks.failed(home.managed, error);
    return home.shown(error);
  }

  async #remove(collection: string): Promise<boolean> {
    const directory = escapeCollection(collection);
    const entry = this.#entries.get(collection);
    const home = this.#undecided.get(collection)?.home ?? this.#unnamed.get(directory);
    const homes = entry?.homes ?? (home === undefined ? [] : [home]);
    if (homes.length === 0) {
      this.#refuseUnknown();
      return false;
    }
    for (const each of homes) await each.refuseFilled(directory);
    // From here on `_collection.json` may be gone: a failed removal leaves an assignment that `assign` completes again.
    if (entry !== undefined) entry.saved = false;
    for (const each of homes) await each.removeDirectory(directory);
    this.#forget(collection, homes);
    await this.#settleNames();
    return true;
  }

  #forget(collection: string, homes: readonly UrlHome[]): void {
    const directory = escapeCollection(collection);
    this.#entries.delete(collection);
    this.#undecided.delete(collection);
    this.#unnamed.delete(directory);
    for (const { held } of homes) {
      held.delete(collection);
      held.delete(unnamedKey(directory));
    }
  }

  /** Takes over what a URL's discovery found, and makes it Available. */
  #adopt(home: UrlHome): void {
    if (home.discovery === undefined) return;
    for (const found of home.discovery.collections) this.#adoptOne(home, found);
    home.listed = true;
    this.known.markListed(home.managed);
    home.enter('Available', '');
  }

  #adoptOne(home: UrlHome, { directory, collection, incarnation, assignedAt, damaged }: Found): void {
    if (collection === undefined) {
      this.#unnamed.set(directory, home);
      home.held.add(unnamedKey(directory));
      return;
    }
    const made = this.#newFile(collection);
    const recorded = { collection, managed: home.managed, incarnation: incarnation ?? made.incarnation };
    const times = { assignedAt: assignedAt ?? made.assignedAt, saved: incarnation !== undefined };
    this.record(damaged === undefined ? { ...recorded, ...times } : { ...recorded, ...times, damaged });
  }

  /** A directory found without `_collection.json` gets one, so that its `assigned_at` stays what it is told to be. */
  async #saveFound(): Promise<void> {
    for (const { assignment, saved, damaged } of this.#entries.values()) {
      if (saved || damaged !== undefined) continue;
      // A failure shows in the URL's state, and the next `assign` tries again.
      await this.assign(assignment.collection).catch(() => undefined);
    }
  }

  /** What holds something is named by the other URLs, and what holds nothing is not (E25). */
  async #settleNames(): Promise<void> {
    for (const { managed, held, listed } of this.#homes) {
      if (!listed || managed.state === 'Missing') continue;
      const isEmpty = (): boolean => held.size === 0 && !(this.#hooks?.holdsOthers(managed) ?? false);
      try {
        if (isEmpty()) await this.known.unname(managed, isEmpty);
        else await this.known.ensureNamed(managed);
      } catch (error) {
        this.#options.logger.warn({ url: managed.url, error }, 'the list of known URLs waits for a URL that works');
      }
    }
  }

  async #probe(home: UrlHome): Promise<void> {
    home.probing = true;
    try {
      if (home.managed.state === 'Full') {
        if (await home.hasRoom()) home.enter('Available', '');
        return;
      }
      if (!(await this.known.recheck(home.managed)) || (await home.discover()) === undefined) return;
      this.#adopt(home);
      await this.#settleNames();
      await this.#saveFound();
    } finally {
      home.probing = false;
    }
  }

  #home(managed: ManagedUrl): UrlHome {
    const home = this.#homes.find((candidate) => candidate.managed === managed);
    if (home === undefined) throw new Error(`${managed.url} is no URL of the component ${this.#component}`);
    return home;
  }
}

function undamaged({ assignment, damaged }: Entry): Assignment {
  if (damaged === undefined) return assignment;
  throw new WalError('DAMAGED', damaged);
}

/** The key in `held` of a directory whose collection's name is unknown: no collection contains NUL. */
function unnamedKey(directory: string): string {
  return `\0${directory}`;
}
