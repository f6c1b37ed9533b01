/**
 * The configuration file as it changes: each new content once, when it stands still.
 *
 * Somebody may be writing the file in place. A content counts when a second reading, 100 ms later, finds the same; one
 * with problems only when it is still there after a second: half a file may be bad, or, worse, good. A ConfigMap's mount
 * changes at once and as a whole, and costs the 100 ms all the same.
 */
import { dirname } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { DirectoryWatch } from '../directory-watch.ts';
import { load, type Parsed } from './parse.ts';

const stillMs = 100;
const stillWithProblemsMs = 1_000;

export interface ConfigurationWatcherOptions {
  readonly file: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What was read last: nothing is told until the file is another one. */
  readonly last: Fingerprint;
  /** Called with each new content of the file, good or bad; also when it can no longer be read. */
  readonly onChange: (parsed: Parsed) => void;
  readonly roundMs?: number;
}

type Fingerprint = Pick<Parsed, 'hash' | 'problems'>;

export class ConfigurationWatcher {
  readonly #options: ConfigurationWatcherOptions;
  readonly #watch: DirectoryWatch;
  #last: string;
  #isClosed = false;

  constructor(options: ConfigurationWatcherOptions) {
    this.#options = options;
    this.#last = fingerprint(options.last);
    const round = options.roundMs === undefined ? {} : { roundMs: options.roundMs };
    this.#watch = new DirectoryWatch({ directory: dirname(options.file), look: () => this.#look(), ...round });
  }

  /** Begins to watch; resolves when a change since `last` was told. */
  async start(): Promise<void> {
    await this.#watch.start();
  }

  /** Takes the file as it is now: whoever asks says that it is complete. */
  async reload(): Promise<void> {
    this.#tell(await this.#read());
  }

  close(): void {
    this.#isClosed = true;
    this.#watch.close();
  }

  async #look(): Promise<void> {
    for (let parsed = await this.#read(); fingerprint(parsed) !== this.#last; ) {
      await setTimeout(parsed.problems.length > 0 ? stillWithProblemsMs : stillMs, undefined, { ref: false });
      const again = await this.#read();
      if (fingerprint(again) === fingerprint(parsed)) this.#tell(again);
      parsed = again;
    }
  }

  async #read(): Promise<Parsed> {
    return await load(this.#options.file, this.#options.environment);
  }

  #tell(parsed: Parsed): void {
    if (this.#isClosed) return;
    this.#last = fingerprint(parsed);
    this.#options.onChange(parsed);
  }
}

/** Of a content; of a file that cannot be read, why not. */
function fingerprint({ hash, problems }: Fingerprint): string {
  return hash === '' ? JSON.stringify(problems) : hash;
}
