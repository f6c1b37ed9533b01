/**
 * Looks after the credentials of the URLs on object stores: what is missing or malformed in a mounted Secret is the reason of
 * each URL that needs it, at once and again whenever the Secret changes (`..data`), without a restart. What a Secret holds is
 * kept nowhere, logged nowhere and shown nowhere (R7).
 */
import type { Logger } from 'pino';
import type { ManagedUrl } from '../assignment/assignment.ts';
import { DirectoryWatch } from '../directory-watch.ts';
import { credentialsProblem } from './secret-directory.ts';
import type { StoreScheme } from './secret-keys.ts';

/** A URL whose credentials lie in a directory. */
export interface CredentialsUrl {
  readonly managed: ManagedUrl;
  readonly scheme: StoreScheme;
  /** Where its Secret is mounted. */
  readonly directory: string;
}

export class Credentials {
  readonly #urls: readonly CredentialsUrl[];
  readonly #watches: readonly DirectoryWatch[];
  readonly #logger: Pick<Logger, 'info' | 'warn'>;

  constructor(urls: readonly CredentialsUrl[], logger: Pick<Logger, 'info' | 'warn'>) {
    this.#urls = urls;
    this.#logger = logger;
    const directories = new Set(urls.map(({ directory }) => directory));
    this.#watches = Array.from(directories, (directory) => {
      return new DirectoryWatch({ directory, look: () => this.#look(directory) });
    });
  }

  /** Begins to watch; resolves when each URL's reason says what is wrong with its Secret, if anything is. */
  async start(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.start()));
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
  }

  async #look(directory: string): Promise<void> {
    const schemes = new Map<StoreScheme, string | undefined>();
    for (const { managed, scheme } of this.#urls.filter((url) => url.directory === directory)) {
      if (!schemes.has(scheme)) schemes.set(scheme, await credentialsProblem(scheme, directory));
      this.#tell(managed, scheme, schemes.get(scheme));
    }
  }

  #tell(managed: ManagedUrl, scheme: StoreScheme, problem: string | undefined): void {
    const reason = problem ?? unservedReason(scheme);
    if (managed.reason === reason) return;
    managed.reason = reason;
    const { component, url } = managed;
    if (problem === undefined) this.#logger.info({ component, url }, 'the credentials of a storage URL are complete');
    else this.#logger.warn({ component, url, reason }, 'the credentials of a storage URL do not hold');
  }
}

/** Why a URL on an object store is Unavailable although nothing is wrong with it. */
export function unservedReason(scheme: StoreScheme): string {
  return `${scheme}:// comes with a later version; use file:// URLs until then`;
}
