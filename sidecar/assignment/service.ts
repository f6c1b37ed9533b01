/**
 * The assignment service: the one place that decides under which URL a collection of a component lives. The first
 * assignment wins for life (R4); it is durable before anybody is told; what the URLs hold is the only record.
 *
 * Start: `open` reads and locks the URLs of all components (known-urls.ts) and discovers those other than `wal`. The WAL
 * engine then recovers its own URLs: `known('wal')`, `record` for each collection, `urlListed` for each URL.
 */
import type { Logger } from 'pino';
import { componentSections } from '../config/keys.ts';
import { WalError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';
import type { Assignment, Component, ManagedUrl, Strategy } from './assignment.ts';
import { ComponentAssignments } from './component-assignments.ts';
import { KnownUrls } from './known-urls.ts';
import type { Recorded, UrlStatistics, WalHooks } from './wal-hooks.ts';

export interface AssignmentServiceOptions {
  /** The configured components; at least `wal`. */
  readonly components: ReadonlyMap<Component, { readonly urls: readonly ManagedUrl[]; readonly strategy: Strategy }>;
  /** Takes a URL's lock (E28). Rejected: the URL is Unavailable with that reason. */
  readonly lock: (storage: Storage) => Promise<void>;
  readonly clock: () => Date;
  /** A new random id: 32 hex digits. */
  readonly newId: () => string;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** How long one call to a URL may take until the URL is Unavailable; 30 s if not given. */
  readonly deadlineMs?: number;
  /** How often URLs that aren't Available are tried again; 1 s if not given. */
  readonly probeIntervalMs?: number;
}

const probeIntervalMsDefault = 1000;

export class AssignmentService {
  readonly #components: ReadonlyMap<Component, ComponentAssignments>;
  readonly #timer: NodeJS.Timeout;

  private constructor(components: ReadonlyMap<Component, ComponentAssignments>, probeIntervalMs: number) {
    this.#components = components;
    this.#timer = setInterval(() => void this.probe(), probeIntervalMs);
    this.#timer.unref();
  }

  /**
   * Opens every URL. One that fails, hangs (30 s) or is Missing gets that state and harms no other; those of components
   * other than `wal` are Available when it resolves, and are probed every second while they aren't.
   */
  static async open(options: AssignmentServiceOptions): Promise<AssignmentService> {
    const opened = Array.from(options.components, async ([component, { urls, strategy }]) => {
      const known = await KnownUrls.open(component, urls, options);
      const assignments = new ComponentAssignments(component, urls, strategy, known, options);
      if (component !== 'wal') await assignments.discoverAll();
      return [component, assignments] as const;
    });
    const components = new Map(await Promise.all(opened));
    return new AssignmentService(components, options.probeIntervalMs ?? probeIntervalMsDefault);
  }

  /** The WAL engine introduces itself, before its recovery. */
  attachWal(hooks: WalHooks): void {
    this.#of('wal').attach(hooks);
  }

  /** How the component's URLs know each other. INVALID: not configured. */
  known(component: Component): KnownUrls {
    return this.#of(component).known;
  }

  /**
   * Where the collection lives; assigned now if it never was, durably before the promise resolves. Concurrent calls get
   * the same. Errors: INVALID (name, component not configured), UNAVAILABLE and NOSPACE (each URL named with its reason;
   * E26), DAMAGED.
   */
  assign(component: Component, collection: string): Promise<Assignment> {
    return this.#of(component).assign(collection);
  }

  /** Where the collection lives, or undefined if nowhere. UNAVAILABLE while that cannot be known (E26); DAMAGED; INVALID. */
  get(component: Component, collection: string): Assignment | undefined {
    return this.#of(component).get(collection);
  }

  /**
   * The WAL engine tells of a collection that recovery found, with its home (E23). The first record wins and is returned.
   * A name that is recorded under a second URL is a finding.
   */
  record(component: Component, recorded: Recorded): Assignment {
    return this.#of(component).record(recorded);
  }

  /** All collections under this URL are recorded: it is listed (E26), and named by the others if it holds any (E25). */
  async urlListed(managed: ManagedUrl): Promise<void> {
    await this.#of(managed.component).urlListed(managed);
  }

  /** The WAL engine dropped the collection, durably: its assignment ends. */
  dropped(component: Component, collection: string): void {
    this.#of(component).dropped(collection);
  }

  /**
   * Ends an assignment. False if there is none. INVALID while the collection has entries (wal), or its directory holds
   * anything but `_collection.json` (others). UNAVAILABLE as `assign`.
   */
  remove(component: Component, collection: string): Promise<boolean> {
    return this.#of(component).remove(collection);
  }

  /** The component's assignments, oldest first. INVALID: not configured. */
  list(component: Component): IterableIterator<Assignment> {
    return this.#of(component).list();
  }

  /** The component's new collections go by this strategy from now on. INVALID: not configured. */
  setStrategy(component: Component, strategy: Strategy): void {
    this.#of(component).strategy = strategy;
  }

  /** What each of the component's URLs holds, in the order of the configuration. */
  statistics(component: Component): UrlStatistics[] {
    return this.#of(component).statistics();
  }

  /** What an administrator should look at, a sentence each: a collection under two URLs, damaged or foreign directories. */
  findings(component: Component): readonly string[] {
    return this.#of(component).findings();
  }

  /** The configured components. */
  components(): IterableIterator<Component> {
    return this.#components.keys();
  }

  /** Tries the URLs of components other than `wal` that aren't Available once more; runs every second by itself. */
  async probe(): Promise<void> {
    await Promise.all(Array.from(this.#components.values(), (component) => component.probe()));
  }

  /** Ends what runs in the background. The storages stay open: whoever opened them closes them. */
  close(): void {
    clearInterval(this.#timer);
    for (const component of this.#components.values()) component.close();
  }

  #of(component: Component): ComponentAssignments {
    const assignments = this.#components.get(component);
    if (assignments !== undefined) return assignments;
    const place = componentSections.find((section) => section.component === component);
    const key = `storage.${place?.section}.${place?.urlsKey}`;
    throw new WalError('INVALID', `The component ${component} has no URLs: add ${key} to the configuration file.`);
  }
}
