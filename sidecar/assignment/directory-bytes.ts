/**
 * How many bytes a URL's directories really hold. Measured in the background, since a database may have a hundred thousand
 * files there: an assignment takes the last known figure.
 */
import { systemCode } from '../errors.ts';
import type { DirectoryStorage } from './deadline.ts';

/** A figure is at least so old before the files are counted again. */
const freshMs = 30_000;
/** The share of time spent counting stays below one in so many. */
const restFactor = 20;

export class DirectoryBytes {
  /** Bytes in all files under the URL's subdirectories at the last count. */
  bytes = 0;
  readonly #storage: DirectoryStorage;
  #counting: Promise<void> | undefined;
  #notBeforeMs = 0;
  #closed = false;

  constructor(storage: DirectoryStorage) {
    this.#storage = storage;
  }

  /** Counts again in the background if the figure is old. */
  refresh(): void {
    if (performance.now() >= this.#notBeforeMs) void this.count();
  }

  /** Counts now, or waits for the count under way. Never rejects: where a directory fails, the last figure stays. */
  count(): Promise<void> {
    this.#counting ??= this.#count().finally(() => {
      this.#counting = undefined;
    });
    return this.#counting;
  }

  /** Ends a count under way at its next directory. */
  close(): void {
    this.#closed = true;
  }

  async #count(): Promise<void> {
    const startMs = performance.now();
    try {
      let bytes = 0;
      for (const { name, kind } of await this.#storage.list('')) {
        if (kind === 'directory') bytes += await this.#measure(name);
      }
      this.bytes = bytes;
    } catch {
      // The URL's state tells of its failures; here the last known figure is the best there is.
    }
    const endMs = performance.now();
    this.#notBeforeMs = endMs + Math.max(freshMs, (endMs - startMs) * restFactor);
  }

  async #measure(directory: string): Promise<number> {
    if (this.#closed) return 0;
    try {
      let bytes = 0;
      for (const file of await this.#storage.listFiles(directory)) bytes += file.bytes;
      for (const { name, kind } of await this.#storage.list(directory)) {
        if (kind === 'directory') bytes += await this.#measure(`${directory}/${name}`);
      }
      return bytes;
    } catch (error) {
      // The database removed it meanwhile.
      if (systemCode(error) === 'ENOENT') return 0;
      throw error;
    }
  }
}
