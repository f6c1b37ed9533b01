/**
 * Says when something in a directory may have changed: at once where the system tells, else at the next look of a slow
 * round. What is mounted from a ConfigMap or Secret changes by one rename of its `..data` link, a plain file by a rename or in place;
 * each of these is an event of the directory that holds it. Watches are few in the kernel and may be refused: then the
 * round alone finds the change.
 */
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';

const roundMsDefault = 10_000;

export interface DirectoryWatchOptions {
  readonly directory: string;
  /** Called when there may be something new; again afterwards if more came while it ran. Must not reject. */
  readonly look: () => Promise<void>;
  /** How often it is called where the system tells nothing; 10 s if not given. */
  readonly roundMs?: number;
}

export class DirectoryWatch {
  readonly #options: DirectoryWatchOptions;
  #watcher: FSWatcher | undefined;
  /** Device and number of the directory that is watched: another one may have taken its name. */
  #watched = '';
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #isStale = false;
  #isClosed = false;

  constructor(options: DirectoryWatchOptions) {
    this.#options = options;
  }

  /** Begins to watch; resolves when the first look is done. */
  async start(): Promise<void> {
    const round = async (): Promise<void> => {
      await this.#watch();
      await this.look();
    };
    this.#timer = setInterval(() => void round(), this.#options.roundMs ?? roundMsDefault);
    this.#timer.unref();
    await round();
  }

  /** Looks now; resolves when a look that began after this call is done. */
  async look(): Promise<void> {
    if (this.#isClosed) return;
    this.#isStale = true;
    this.#looking ??= this.#lookWhileStale();
    await this.#looking;
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#watcher?.close();
  }

  async #lookWhileStale(): Promise<void> {
    while (this.#isStale && !this.#isClosed) {
      this.#isStale = false;
      await this.#options.look();
    }
    this.#looking = undefined;
  }

  async #watch(): Promise<void> {
    const { directory } = this.#options;
    const found = await stat(directory).then(
      ({ dev, ino }) => `${dev} ${ino}`,
      () => '',
    );
    if (found === this.#watched || this.#isClosed) return;
    this.#unwatch();
    if (found === '') return;
    try {
      this.#watcher = watch(directory, { persistent: false }, () => void this.look());
      this.#watcher.on('error', () => this.#unwatch());
      this.#watched = found;
    } catch {
      // No watch to be had: the next round tries again.
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = '';
  }
}
