/** Takes new configuration files while the sidecar runs: at each change of the file, and when it is told to (SIGHUP). */
import type { Logger } from 'pino';
import type { Configuration } from './config/configuration.ts';
import type { ConfigurationInForce, Taken } from './config/in-force.ts';
import type { Parsed } from './config/parse.ts';
import { format } from './config/problem.ts';
import { ConfigurationWatcher } from './config/watcher.ts';

export interface ReloadOptions {
  readonly file: string;
  /** Of the content that the process started with. */
  readonly hash: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly inForce: ConfigurationInForce;
  /** Gives the running parts what is hot. */
  readonly apply: (configuration: Configuration) => void;
  /** Called when a file was taken or refused. */
  readonly onTaken: () => void;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

export class Reload {
  readonly #options: ReloadOptions;
  readonly #watcher: ConfigurationWatcher;

  constructor(options: ReloadOptions) {
    this.#options = options;
    const { environment, file, hash } = options;
    const onChange = (parsed: Parsed): void => this.#take(parsed);
    this.#watcher = new ConfigurationWatcher({ file, environment, last: { hash, problems: [] }, onChange });
  }

  /** Begins to watch the file; what changed since the process read it is taken first. */
  async start(): Promise<void> {
    await this.#watcher.start();
  }

  /** Takes the file as it is now. */
  async now(): Promise<void> {
    await this.#watcher.reload();
  }

  close(): void {
    this.#watcher.close();
  }

  #take(parsed: Parsed): void {
    const { file, inForce, logger, onTaken } = this.#options;
    for (const warning of parsed.warnings) logger.warn({ file, warning: format([warning]).trim() }, 'configuration');
    const taken = inForce.take(parsed);
    if (taken === undefined) {
      logger.warn({ file, error: inForce.error }, 'the new configuration is bad: the old one stays in force');
    } else this.#apply(taken);
    onTaken();
  }

  #apply(taken: Taken): void {
    const { apply, file, inForce, logger } = this.#options;
    apply(inForce.configuration);
    logger.info({ file, changed: taken.hot, configHash: inForce.hash }, 'the configuration was read again');
    if (taken.memoryProblem !== undefined) logger.warn({ file, problem: taken.memoryProblem }, 'too little memory');
    for (const key of taken.pending) logger.warn({ file, key }, 'a changed key waits for a restart of the pod');
  }
}
