/**
 * A reflector keeps a copy of the objects of one resource (and label selector) and tells of each change.
 *
 *     list (by pages) ──► watch from the list's resourceVersion ──► watch again from the last one seen ──► …
 *        ▲                     │ 410, in the answer or as an ERROR event: the server has forgotten that version
 *        └─────────────────────┘
 *
 * - A watch ends by itself after a random time (the server is asked to), and is cut by us if it doesn't.
 *   Bookmarks move the resourceVersion of a quiet watch, so that the next one needs no list.
 * - Any other failure (connection, status, ERROR event, a line that isn't JSON) is logged and tried again from the last
 *   version seen, after a growing, jittered pause or what Retry-After asks (of a 429); one event or bookmark resets the pause, and
 *   a watch that had lasted is followed by the next one at once.
 * - A list replaces the copy: what is in it and not in the copy is told as added, what is missing as deleted. The copy
 *   is never empty meanwhile.
 * - A handler that throws is logged; the reflector goes on.
 * - `refresh` puts the answer to a write into the copy before its event arrives. Older events don't change the copy
 *   then, but are told all the same: the answer may hold what others wrote just before, which nobody was told of.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Backoff, pauseMs } from './backoff.ts';
import { type ApiClient, ApiError } from './client.ts';
import { asList, asObject, asWatchEvent, type KubernetesObject, keyOf, type ListPage } from './kubernetes.ts';

export interface Change<T> {
  readonly type: 'added' | 'modified' | 'deleted';
  readonly object: T;
  /** What the copy held before; undefined when added. */
  readonly previous: T | undefined;
}

export interface ReflectorTimings {
  readonly backoff: Backoff;
  /** A watch lasts between this and twice this, in seconds. */
  readonly watchSeconds: number;
}

const defaultTimings: ReflectorTimings = { backoff: { firstMs: 500, maxMs: 30_000 }, watchSeconds: 300 };

export interface ReflectorOptions<T extends KubernetesObject> {
  readonly client: ApiClient;
  /** Of the collection, for example `/api/v1/pods`. */
  readonly path: string;
  readonly labelSelector?: string;
  readonly logger: Logger;
  /** Called for each change after the copy has it; may be async. What it throws is logged. */
  readonly onChange: (change: Change<T>) => unknown;
  /** What to keep of an object, to save memory. */
  readonly trim?: (object: T) => T;
  /** Groups the objects for `indexed`. */
  readonly indexBy?: (object: T) => string | undefined;
  readonly timings?: ReflectorTimings;
}

/** Counters of a reflector's life, for metrics. */
export interface ReflectorCounts {
  lists: number;
  watches: number;
  failures: number;
  /** When the API last said anything, bookmarks included; milliseconds of the wall clock, 0 before. */
  lastHeardMs: number;
}

const pageSize = 500;
/** The server ends a watch in time; if it is this late, the connection is taken for dead. */
const watchGraceMs = 15_000;
/** A watch that ends sooner than this and brought nothing counts as a failure: else a broken proxy makes us spin. */
const shortWatchMs = 1_000;

export class Reflector<T extends KubernetesObject> {
  readonly counts: ReflectorCounts = { lists: 0, watches: 0, failures: 0, lastHeardMs: 0 };
  readonly path: string;
  readonly #options: ReflectorOptions<T>;
  readonly #timings: ReflectorTimings;
  readonly #objects = new Map<string, T>();
  readonly #index = new Map<string, Map<string, T>>();
  /** Keys whose copy came from an answer, until an event has brought that version. */
  readonly #refreshed = new Set<string>();
  readonly #sync = Promise.withResolvers<void>();
  /** Where to watch from; undefined: list first. */
  #resourceVersion: string | undefined;
  #synced = false;
  /** When the last watch was begun, on the monotonic clock. */
  #watchedMs = Number.POSITIVE_INFINITY;
  /** Whether the last failure was a 410. */
  #wasGone = false;
  /** Failures since the last sign of progress. */
  #failures = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timings = options.timings ?? defaultTimings;
    this.path = options.path;
  }

  /** Whether the copy has been filled by a list, once. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Resolves when the copy has been filled. */
  get whenSynced(): Promise<void> {
    return this.#sync.promise;
  }

  /** The object `namespace/name`, as last seen. */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  /** Of all objects, `namespace/name`. */
  keys(): IterableIterator<string> {
    return this.#objects.keys();
  }

  /** How many objects there are. */
  get size(): number {
    return this.#objects.size;
  }

  /** The objects that `indexBy` gave this group. */
  indexed(group: string): T[] {
    return [...(this.#index.get(group)?.values() ?? [])];
  }

  /**
   * Takes the answer to a write, so that what follows doesn't work on what it replaced. Ignored unless an older version
   * of the object is in the copy.
   */
  refresh(answer: KubernetesObject): void {
    const key = keyOf(answer);
    const held = this.#objects.get(key);
    if (held === undefined || !isNewer(answer, held)) return;
    this.#put(this.#trimmed(asObject<T>(answer)));
    this.#refreshed.add(key);
  }

  /** Lists and watches until the signal; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list(signal);
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#recover(error, signal);
      }
    }
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    const gone = isGone(error);
    if (gone) this.#resourceVersion = undefined;
    // A watch that was cut after a while had worked, even if it was quiet.
    const wasCut = !(error instanceof ApiError) && this.#lastedMs() >= shortWatchMs;
    if (wasCut) this.#failures = 0;
    this.#failures += 1;
    this.counts.failures += 1;
    const asked = askedMs(error);
    // Business as usual: the next watch after one that was cut, the list after a 410; but not a second 410 in a row.
    const isUsual = asked === 0 && (wasCut || (gone && !this.#wasGone));
    this.#wasGone = gone;
    if (isUsual) return;
    const waitMs = Math.max(asked, pauseMs(this.#timings.backoff, this.#failures));
    const { logger, path } = this.#options;
    logger.warn({ path, err: error, attempt: this.#failures, waitMs: Math.round(waitMs) }, 'watching failed');
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
  }

  /** How long the watch has lasted that is the latest. */
  #lastedMs(): number {
    return performance.now() - this.#watchedMs;
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, path, labelSelector } = this.#options;
    const found = new Map<string, T>();
    let page: ListPage<T> | undefined;
    do {
      const query = { labelSelector, limit: pageSize, continue: page?.continuation };
      page = asList<T>(await client.get(path, query, signal));
      for (const item of page.items) found.set(keyOf(item), this.#trimmed(item));
    } while (page.continuation !== '');
    this.counts.lists += 1;
    this.#heard();
    this.#replace(found);
    this.#resourceVersion = page.resourceVersion;
    this.#synced = true;
    this.#sync.resolve();
  }

  /** The copy becomes what was listed, and each difference is told. */
  #replace(found: Map<string, T>): void {
    for (const [key, object] of this.#objects) {
      if (found.has(key)) continue;
      this.#remove(key);
      this.#tell({ type: 'deleted', object, previous: object });
    }
    for (const [key, object] of found) {
      // Not only newer ones: after a restore of etcd, versions begin again lower.
      const isSame = this.#objects.get(key)?.metadata.resourceVersion === object.metadata.resourceVersion;
      if (!isSame || this.#refreshed.has(key)) this.#take(object);
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, path, labelSelector } = this.#options;
    const timeoutSeconds = Math.ceil(this.#timings.watchSeconds * (1 + Math.random()));
    const query = {
      labelSelector,
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: this.#resourceVersion,
      timeoutSeconds,
    };
    this.counts.watches += 1;
    this.#watchedMs = performance.now();
    let events = 0;
    for await (const line of client.lines(path, query, timeoutSeconds * 1000 + watchGraceMs, signal)) {
      if (line === '') continue;
      this.#event(line);
      events += 1;
      this.#failures = 0;
    }
    if (events === 0 && this.#lastedMs() < shortWatchMs) {
      throw new Error('the watch ended at once without an event');
    }
    this.#failures = 0;
    this.#options.logger.debug({ path, events }, 'watch ended, next one follows');
  }

  #event(line: string): void {
    const event = asWatchEvent(JSON.parse(line));
    if (event.type === 'ERROR') throw ApiError.from(event.object, 0, `watch of ${this.path}`);
    this.#heard();
    if (event.type === 'BOOKMARK') {
      this.#resourceVersion = event.resourceVersion;
      return;
    }
    const object = asObject<T>(event.object);
    this.#resourceVersion = object.metadata.resourceVersion;
    if (event.type === 'DELETED') this.#drop(object);
    else this.#take(this.#trimmed(object));
  }

  #drop(object: T): void {
    const previous = this.#objects.get(keyOf(object));
    if (previous === undefined || !isNewer(object, previous)) return;
    this.#remove(keyOf(object));
    this.#tell({ type: 'deleted', object, previous });
  }

  /** The object becomes the copy, or was there before its event; told in both cases. */
  #take(object: T): void {
    const key = keyOf(object);
    const previous = this.#objects.get(key);
    const isKnown = previous !== undefined && this.#refreshed.has(key) && !isNewer(object, previous);
    if (previous?.metadata.resourceVersion === object.metadata.resourceVersion) this.#refreshed.delete(key);
    if (!isKnown) this.#put(object);
    this.#tell({ type: previous === undefined ? 'added' : 'modified', object: isKnown ? previous : object, previous });
  }

  #trimmed(object: T): T {
    return this.#options.trim === undefined ? object : this.#options.trim(object);
  }

  #put(object: T): void {
    const key = keyOf(object);
    this.#remove(key);
    this.#objects.set(key, object);
    const group = this.#options.indexBy?.(object);
    if (group === undefined) return;
    const members = this.#index.get(group) ?? new Map<string, T>();
    this.#index.set(group, members.set(key, object));
  }

  #remove(key: string): void {
    const held = this.#objects.get(key);
    if (held === undefined) return;
    this.#objects.delete(key);
    this.#refreshed.delete(key);
    const group = this.#options.indexBy?.(held);
    if (group === undefined) return;
    const members = this.#index.get(group);
    members?.delete(key);
    if (members?.size === 0) this.#index.delete(group);
  }

  #tell(change: Change<T>): void {
    const { onChange, logger, path } = this.#options;
    const key = keyOf(change.object);
    const failed = (err: unknown): void => logger.error({ path, key, err }, 'the handler of a change failed');
    try {
      Promise.resolve(onChange(change)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #heard(): void {
    this.counts.lastHeardMs = Date.now();
  }
}

/**
 * How long the server asks to be left alone. Not where it starts (503): it asks for 5 s then, is ready in one,
 * and our own pauses grow as well.
 */
function askedMs(error: unknown): number {
  return error instanceof ApiError && error.status === 429 ? (error.retryAfterMs ?? 0) : 0;
}

function isGone(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 410 || error.reason === 'Expired' || error.reason === 'Gone');
}

/** Versions of one resource can be compared as numbers (documented since Kubernetes 1.35, true before). */
function isNewer(object: KubernetesObject, than: KubernetesObject | undefined): boolean {
  if (than === undefined) return true;
  return BigInt(object.metadata.resourceVersion) > BigInt(than.metadata.resourceVersion);
}
