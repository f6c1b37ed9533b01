/** One URL of a component as the assignments see it: what it holds, and the calls to its storage. */
import type { Logger } from 'pino';
import { storageError, systemCode, WalError } from '../errors.ts';
import { isTemporaryName } from '../storage/file.ts';
import type { ManagedUrl, UrlState } from './assignment.ts';
import { collectionFileName } from './collection-file.ts';
import { type DirectoryStorage, withDeadline } from './deadline.ts';
import { DirectoryBytes } from './directory-bytes.ts';
import { type Discovery, discover } from './discovery.ts';
import type { Candidate } from './strategy.ts';

/** How long `discover` waits for the first count of bytes; it goes on in the background. */
const firstCountMs = 5000;
/** Directories synced at once. */
const syncsMax = 16;
const probeName = '_probe';
const probeBytes = 4096;

export class UrlHome {
  readonly managed: ManagedUrl;
  /** Undefined where no storage can serve the URL yet. */
  readonly storage: DirectoryStorage | undefined;
  /** The names of collections here, those being created included, and `\0` + directory where the name is unknown. */
  readonly held = new Set<string>();
  /** What the last discovery found; undefined: not listed yet. */
  discovery: Discovery | undefined;
  /** Its collections are recorded. */
  listed = false;
  /** A probe is under way. */
  probing = false;
  readonly #bytes: DirectoryBytes | undefined;
  readonly #logger: Pick<Logger, 'info' | 'warn'>;

  constructor(managed: ManagedUrl, deadlineMs: number, logger: Pick<Logger, 'info' | 'warn'>) {
    this.managed = managed;
    this.storage = managed.storage && withDeadline(managed.storage, deadlineMs);
    this.#bytes = this.storage && new DirectoryBytes(this.storage);
    this.#logger = logger;
  }

  /** The storage, or UNAVAILABLE with the reason where the URL's state forbids its use. */
  usable(...states: readonly UrlState[]): DirectoryStorage {
    const { url, state, reason } = this.managed;
    if (this.storage !== undefined && states.includes(state)) return this.storage;
    throw new WalError(state === 'Full' ? 'NOSPACE' : 'UNAVAILABLE', `${url} is ${state}: ${reason}`);
  }

  /** As a strategy sees it; `bytes`: what the engine counts (wal), else what the directories hold. */
  candidate(bytes: number | undefined): Candidate {
    const { index, url, state } = this.managed;
    const available = state === 'Available' && this.storage !== undefined;
    return { index, url, collections: this.held.size, bytes: bytes ?? this.directoryBytes(), available };
  }

  /** Bytes in the URL's directories, as last counted; counts again in the background if that is long ago. */
  directoryBytes(): number {
    if (this.managed.state === 'Available') this.#bytes?.refresh();
    return this.#bytes?.bytes ?? 0;
  }

  /** Lists the URL, syncs what it found (E17), and counts its bytes. Undefined, and the state Unavailable, where that fails. */
  async discover(): Promise<Discovery | undefined> {
    const { storage } = this;
    if (storage === undefined) return undefined;
    try {
      const discovery = await discover(storage);
      for (let start = 0; start < discovery.collections.length; start += syncsMax) {
        const some = discovery.collections.slice(start, start + syncsMax);
        await Promise.all(some.map(({ directory }) => storage.syncDirectory(directory)));
      }
      await storage.remove('', discovery.temporary);
      const patience = new Promise<void>((resolve) => setTimeout(resolve, firstCountMs).unref());
      await Promise.race([this.#bytes?.count(), patience]);
      this.discovery = discovery;
      return discovery;
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  /** A call to the URL failed: its state says so. Returns the error as a client may see it. */
  fail(error: unknown): WalError {
    const shown = this.shown(error);
    this.enter(shown.code === 'NOSPACE' ? 'Full' : 'Unavailable', shown.message);
    return shown;
  }

  /** The error of a call to the URL as a client may see it. */
  shown(error: unknown): WalError {
    return storageError(error, this.managed.url);
  }

  enter(state: UrlState, reason: string): void {
    const { managed } = this;
    if (managed.state !== state) {
      const change = { component: managed.component, url: managed.url, from: managed.state, to: state, reason };
      if (state === 'Available') this.#logger.info(change, 'a storage URL is available');
      else this.#logger.warn(change, 'a storage URL has changed its state');
    }
    managed.state = state;
    managed.reason = reason;
  }

  /** Whether a file of a block's size can be written again. */
  async hasRoom(): Promise<boolean> {
    const { storage } = this;
    if (storage === undefined) return false;
    try {
      await storage.publish(probeName, [Buffer.alloc(probeBytes)]);
      await storage.remove('', [probeName]);
      return true;
    } catch {
      // Still full, or failing: the next probe tells.
      return false;
    }
  }

  /** INVALID while the directory holds anything but `_collection.json`. */
  async refuseFilled(directory: string): Promise<void> {
    const filled = (await this.#names(directory)).find((name) => !isOurs(name));
    if (filled === undefined) return;
    const where = `${this.managed.url}/${directory}`;
    throw new WalError(
      'INVALID',
      `${where} still holds ${filled}: remove what the database keeps there, then unassign.`,
    );
  }

  /** Removes `_collection.json`, then the directory, durably. INVALID when it was filled meanwhile. */
  async removeDirectory(directory: string): Promise<void> {
    const names = await this.#names(directory);
    const storage = this.usable('Available', 'Full');
    try {
      await storage.remove(directory, names.filter(isOurs));
      await storage.removeDirectory(directory);
    } catch (error) {
      if (systemCode(error) !== 'ENOTEMPTY') throw this.fail(error);
      throw new WalError('INVALID', `${this.managed.url}/${directory} was filled meanwhile: it stays assigned.`);
    }
  }

  close(): void {
    this.#bytes?.close();
  }

  /** The names in a directory; none where it is absent. */
  async #names(directory: string): Promise<string[]> {
    const storage = this.usable('Available', 'Full');
    try {
      return (await storage.list(directory)).map((entry) => entry.name);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw this.fail(error);
    }
  }
}

function isOurs(name: string): boolean {
  return name === collectionFileName || isTemporaryName(name);
}
