/**
 * The certificate that a replica serves with: read again and again from where it is kept, and handed on when it has
 * changed. What cannot be read or used is reported, and the one before stays in use.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Check } from '../../sidecar/http/health.ts';
import type { ApiClient } from '../client.ts';
import { expiryMs, type Pair, pairFlaw, servingPair } from './certificates.ts';
import { dataOf, readSecret, secretName } from './webhook-objects.ts';

/** Where pairs come from. */
export interface PairSource {
  /** For people. */
  readonly where: string;
  /** The pair as it is now; both parts may be empty. */
  read(signal: AbortSignal): Promise<Pair>;
}

/** The Secret that the leader keeps. */
export function secretSource(client: ApiClient, namespace: string): PairSource {
  return {
    where: `Secret ${secretName} in namespace ${namespace}`,
    read: async (signal) => servingPair(dataOf(await readSecret(client, namespace, signal))),
  };
}

/** `tls.crt` and `tls.key` of a mounted Secret, as cert-manager makes it. The kubelet replaces both at once. */
export function directorySource(directory: string): PairSource {
  return {
    where: directory,
    read: async () => {
      // One after the other: where neither is there, the error always names the same one.
      const certificate = await readFile(join(directory, 'tls.crt'), 'utf8');
      return { certificate, key: await readFile(join(directory, 'tls.key'), 'utf8') };
    },
  };
}

export interface FollowerOptions {
  readonly source: PairSource;
  /** Serve with it from now on. */
  readonly onPair: (pair: Pair) => void;
  readonly logger: Logger;
  /** The wall clock, in milliseconds. */
  readonly now?: () => number;
  readonly pollMs?: number;
}

const defaultPollMs = 10_000;
/** While there is none: the first one of an installation is seconds away. */
const firstPollMs = 500;

export class CertificateFollower {
  readonly #options: Required<FollowerOptions>;
  #pair: Pair | undefined;
  /** Why the last look brought nothing to serve with; undefined if it did. */
  #failure: string | undefined = 'it has not been read yet';

  constructor(options: FollowerOptions) {
    this.#options = { now: Date.now, pollMs: defaultPollMs, ...options };
  }

  /** When what is served ends, in milliseconds of the wall clock; undefined before there is one. */
  get expiresMs(): number | undefined {
    return this.#pair === undefined ? undefined : expiryMs(this.#pair);
  }

  /** Whether the webhook can be trusted: it has a certificate that has not expired. */
  check(): Check {
    const { source, now } = this.#options;
    const { expiresMs } = this;
    const name = 'certificate';
    if (expiresMs !== undefined && expiresMs > now()) return { name, ok: true, message: '' };
    const why = this.#failure ?? 'it has expired';
    return { name, ok: false, message: `The webhook has no certificate to serve with from ${source.where}: ${why}.` };
  }

  /** Looks until the signal; never rejects. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#look(signal);
      const waitMs = this.#pair === undefined ? firstPollMs : this.#options.pollMs;
      await sleep(waitMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { source, onPair, logger } = this.#options;
    try {
      const pair = await source.read(signal);
      const flaw = pairFlaw(pair);
      if (flaw !== undefined) {
        this.#fail(flaw);
        return;
      }
      this.#failure = undefined;
      if (pair.certificate === this.#pair?.certificate && pair.key === this.#pair.key) return;
      onPair(pair);
      this.#pair = pair;
      logger.info(
        { expires: new Date(expiryMs(pair) ?? 0).toISOString() },
        'the webhook serves with a new certificate',
      );
    } catch (error) {
      if (!signal.aborted) this.#fail(error instanceof Error ? error.message : String(error));
    }
  }

  #fail(why: string): void {
    const { source, logger } = this.#options;
    // Once each, not at every look.
    if (why !== this.#failure) logger.warn({ from: source.where, why }, 'no certificate of the webhook could be read');
    this.#failure = why;
  }
}
