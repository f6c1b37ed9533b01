/**
 * The URLs of one component as they know each other (E25–E27), so that a lost disk is never taken for an empty one (R6).
 *
 * - Each URL's id is durable in its own `_url.json` before any other URL names it.
 * - A URL is named in every other's file before its first collection or journal frame (`ensureNamed`), and no longer
 *   after its last collection (`unname`). One that never held anything is in nobody's list: it may be removed freely.
 * - While a named URL is Missing or removed, or a configured one was not listed yet, an unknown collection might live
 *   there: none is created (`blockedBy`).
 *
 * One writer at a time: the URLs are locked (E28), and within the process all changes stand in one queue.
 */
import { asWalError, storageError, WalError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';
import type { Component, ManagedUrl } from './assignment.ts';
import { deadlineMsDefault, withDeadline, within } from './deadline.ts';
import { type Judgement, judge, type Observation, type Verdict } from './membership.ts';
import { type NamedUrl, readUrlFile, type UrlFile, writeUrlFile } from './url-file.ts';

export interface KnownUrlsOptions {
  /** Takes the lock that keeps a second sidecar out (E28) and makes the URL's directory. Rejected: the URL is Unavailable. */
  readonly lock: (storage: Storage) => Promise<void>;
  /** A new id: 32 hex digits. */
  readonly newId: () => string;
  /** How long one URL may take to answer until it is Unavailable. */
  readonly deadlineMs?: number;
}

interface Slot {
  readonly managed: ManagedUrl;
  content: Observation['content'];
  verdict: Verdict;
  locked: boolean;
  /** Its collections were discovered. */
  listed: boolean;
}

export class KnownUrls {
  readonly #component: Component;
  readonly #slots: readonly Slot[];
  readonly #options: KnownUrlsOptions;
  #judgement: Judgement;
  /** Ids that hold something, and where: what the lists are to say. */
  readonly #named = new Map<string, string>();
  /** Ids that the file of every reachable URL names. */
  readonly #complete = new Set<string>();
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(component: Component, urls: readonly ManagedUrl[], options: KnownUrlsOptions) {
    this.#component = component;
    this.#options = options;
    this.#judgement = judge(component, []);
    this.#slots = urls.map((managed) => ({
      managed,
      content: { kind: 'unread', reason: managed.reason },
      verdict: { kind: 'unread', reason: '' },
      locked: false,
      listed: false,
    }));
  }

  /**
   * Reads every URL's `_url.json`, judges, then locks and completes those that belong: a URL without a file gets an id.
   * Sets `id`, and for URLs that cannot be used `state` and `reason` (Missing, Unavailable); other states stay. A URL
   * that hangs or fails harms no other.
   */
  static async open(component: Component, urls: readonly ManagedUrl[], options: KnownUrlsOptions): Promise<KnownUrls> {
    const known = new KnownUrls(component, urls, options);
    await Promise.all(known.#slots.map((slot) => known.#observe(slot)));
    known.#judge();
    // Only what belongs is locked: the lock makes the directory, and a lost disk's mount point must not get one.
    await Promise.all(known.#admitted().map((slot) => known.#lock(slot)));
    known.#judge();
    await Promise.all(known.#admitted().map((slot) => known.#write(slot)));
    known.#judge();
    for (const id of known.#named.keys()) known.#complete.add(id);
    return known;
  }

  /** Whether any `_url.json` says that affinity was ever false (E26). */
  get affinityWasFalse(): boolean {
    return this.#judgement.affinityWasFalse;
  }

  /** URLs that a list names and that are configured no longer (E26). */
  get removedUrls(): readonly NamedUrl[] {
    return this.#judgement.removed;
  }

  /** Its collections are known from now on. Called after each successful discovery. */
  markListed(managed: ManagedUrl): void {
    this.#slot(managed).listed = true;
  }

  /** Why no unknown collection may be created now (E26): a sentence that names the URL; undefined: nothing is in the way. */
  blockedBy(): string | undefined {
    for (const { managed, verdict, listed } of this.#slots) {
      if (verdict.kind === 'missing') return `${managed.url} is Missing: ${verdict.reason}`;
      if (listed || verdict.kind === 'forgotten' || verdict.kind === 'pending') continue;
      const reason = managed.reason === '' ? 'it is being recovered.' : managed.reason;
      return `${managed.url} was not listed yet, and may hold the collection: ${reason}`;
    }
    const removed = this.#judgement.removed[0];
    if (removed === undefined) return undefined;
    return `${removed.url} (id ${removed.id}) holds collections and is configured no longer: configure it again, or give it up with walstorage forget.`;
  }

  /**
   * Names the URL in every other's file, durably, before its first collection or frame. Needs all of them: UNAVAILABLE or
   * NOSPACE names the one that fails. Costs nothing once done.
   */
  async ensureNamed(managed: ManagedUrl): Promise<void> {
    const slot = this.#slot(managed);
    const id = this.#usableId(slot);
    if (this.#complete.has(id)) return;
    await this.#exclusively(async () => {
      if (this.#complete.has(id)) return;
      const unread = this.#slots.find((other) => other.verdict.kind === 'unread' || other.verdict.kind === 'refused');
      if (unread !== undefined) {
        const need = `${managed.url} holds nothing yet, and before its first collection every other URL must name it`;
        throw new WalError('UNAVAILABLE', `${need}; ${unread.managed.url} cannot: ${unread.managed.reason}`);
      }
      const before = this.#named.has(id);
      this.#named.set(id, managed.url);
      try {
        await this.#writeAll();
      } catch (error) {
        if (!before) this.#named.delete(id);
        throw error;
      }
      this.#complete.add(id);
    });
  }

  /**
   * Takes the URL out of the others' files after its last collection was dropped. `isEmpty` is asked when its turn comes;
   * whoever creates a collection meanwhile counts first and calls `ensureNamed` then. Rejects where a file could not be
   * written: that one is put right with the next change.
   */
  async unname(managed: ManagedUrl, isEmpty: () => boolean): Promise<void> {
    await this.#exclusively(async () => {
      const { id } = managed;
      if (id === undefined || !this.#named.has(id) || !isEmpty()) return;
      this.#named.delete(id);
      this.#complete.delete(id);
      await this.#writeAll();
    });
  }

  /**
   * Reads a Missing or Unavailable URL again and writes its `_url.json` as a proof that it takes writes. Resolves with
   * true when it belongs and works: its state is Recovering then, and the caller discovers what it holds.
   */
  async recheck(managed: ManagedUrl): Promise<boolean> {
    return await this.#exclusively(async () => {
      const slot = this.#slot(managed);
      if (slot.verdict.kind === 'forgotten') return false;
      await this.#observe(slot);
      this.#judge(slot);
      if (isAdmitted(slot)) await this.#lock(slot);
      this.#judge(slot);
      if (isAdmitted(slot)) await this.#write(slot, true);
      this.#judge(slot);
      return isAdmitted(slot);
    });
  }

  async #observe(slot: Slot): Promise<void> {
    const { storage, state, reason } = slot.managed;
    if (state === 'Pending') slot.content = { kind: 'pending' };
    else if (storage === undefined) slot.content = { kind: 'unread', reason };
    else {
      await this.#attempt(slot, async () => {
        const file = await readUrlFile(withDeadline(storage, this.#deadlineMs()));
        slot.content = file === undefined ? { kind: 'none' } : { kind: 'file', file };
      });
    }
  }

  async #lock(slot: Slot): Promise<void> {
    const { storage, url } = slot.managed;
    if (storage === undefined || slot.locked) return;
    await this.#attempt(slot, async () => {
      const locking = this.#options.lock(storage).then(() => {
        slot.locked = true;
      });
      await within(this.#deadlineMs(), `Locking ${url}`, locking);
    });
    // Until the lock was held, another sidecar may have written.
    if (slot.locked) await this.#observe(slot);
  }

  /** Brings the URL's file up to date; a failure makes the URL unread. */
  async #write(slot: Slot, always = false): Promise<void> {
    await this.#attempt(slot, () => this.#publish(slot, always));
  }

  async #writeAll(): Promise<void> {
    const results = await Promise.allSettled(this.#admitted().map((slot) => this.#publish(slot, false)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #publish(slot: Slot, always: boolean): Promise<void> {
    const { storage, url } = slot.managed;
    const stored = slot.content.kind === 'file' ? slot.content.file : undefined;
    const file = this.#wanted(stored?.id ?? this.#options.newId());
    if (storage === undefined || (!always && stored !== undefined && isSame(stored, file))) return;
    try {
      await writeUrlFile(withDeadline(storage, this.#deadlineMs()), file);
    } catch (error) {
      throw storageError(error, `${url}/_url.json cannot be written`);
    }
    slot.content = { kind: 'file', file };
  }

  #wanted(id: string): UrlFile {
    const { affinityWasFalse, forgotten } = this.#judgement;
    const others = Array.from(this.#named, ([other, url]) => ({ id: other, url })).filter((other) => other.id !== id);
    return { id, component: this.#component, affinityWasFalse, others, forgotten: [...forgotten] };
  }

  async #attempt(slot: Slot, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      slot.content = { kind: 'unread', reason: asWalError(error, 'UNAVAILABLE', slot.managed.url).message };
    }
  }

  /** Judges all URLs anew; `rechecked` gets its state even where its verdict is what it was. */
  #judge(rechecked?: Slot): void {
    const observations = this.#slots.map(({ managed, content }) => ({ url: managed.url, content }));
    this.#judgement = judge(this.#component, observations);
    this.#slots.forEach((slot, place) => {
      const verdict = this.#judgement.verdicts[place] ?? slot.verdict;
      const changed = verdict.kind !== slot.verdict.kind || verdict.reason !== slot.verdict.reason;
      slot.verdict = verdict;
      if (changed || slot === rechecked) applyVerdict(slot);
    });
    for (const [id, url] of this.#judgement.named) {
      // What this process named or stopped naming counts more than the file of a URL that could not be written then.
      const settled = this.#slots.some((slot) => slot.managed.id === id && slot.listed);
      if (!settled || this.#named.has(id)) this.#named.set(id, url);
    }
  }

  #admitted(): Slot[] {
    return this.#slots.filter(isAdmitted);
  }

  #slot(managed: ManagedUrl): Slot {
    const slot = this.#slots.find((candidate) => candidate.managed === managed);
    if (slot === undefined) throw new Error(`${managed.url} is no URL of the component ${this.#component}`);
    return slot;
  }

  #usableId({ managed, content, verdict }: Slot): string {
    if (verdict.kind === 'known' && content.kind === 'file') return content.file.id;
    throw new WalError('UNAVAILABLE', verdict.reason === '' ? `${managed.url} is ${managed.state}.` : verdict.reason);
  }

  #deadlineMs(): number {
    return this.#options.deadlineMs ?? deadlineMsDefault;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }
}

function isAdmitted(slot: Slot): boolean {
  return slot.verdict.kind === 'known' || slot.verdict.kind === 'fresh';
}

function applyVerdict(slot: Slot): void {
  const { managed, content, verdict } = slot;
  if (content.kind === 'file') managed.id = content.file.id;
  else if (content.kind === 'none') managed.id = undefined;
  const { kind, reason } = verdict;
  // What comes back after this may hold something else: it is to be listed again.
  if (kind === 'missing') slot.listed = false;
  if (kind === 'missing' || kind === 'forgotten') Object.assign(managed, { state: 'Missing', reason });
  else if (kind === 'unread' || kind === 'refused') Object.assign(managed, { state: 'Unavailable', reason });
  else if (kind !== 'pending' && (managed.state === 'Missing' || managed.state === 'Unavailable')) {
    Object.assign(managed, { state: 'Recovering', reason: '' });
  }
}

function isSame(stored: UrlFile, wanted: UrlFile): boolean {
  return fingerprint(stored) === fingerprint(wanted);
}

function fingerprint({ id, affinityWasFalse, others, forgotten }: UrlFile): string {
  const named = others.map((other) => `${other.id} ${other.url}`).toSorted();
  return JSON.stringify([id, affinityWasFalse, named, forgotten.toSorted()]);
}
