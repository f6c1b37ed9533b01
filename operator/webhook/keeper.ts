/** The leader's part in the certificates: it observes, asks `plan` for the next step, and carries it out, until none is left. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Backoff, pauseMs } from '../backoff.ts';
import type { ApiClient } from '../client.ts';
import type { Secret } from '../kubernetes.ts';
import { defaultLifetimes, type Lifetimes, plan, type Step, withNext } from './certificates.ts';
import {
  dataOf,
  type Published,
  readBundle,
  readSecret,
  secretName,
  writeBundle,
  writeSecret,
} from './webhook-objects.ts';

export interface KeeperOptions {
  /** Its writes are fenced by the election. */
  readonly client: ApiClient;
  /** The operator's own: where the Secret is. */
  readonly namespace: string;
  /** Host names and IP addresses that the certificates are for. */
  readonly names: readonly string[];
  readonly logger: Logger;
  readonly lifetimes?: Lifetimes;
  /** The wall clock, in milliseconds. */
  readonly now?: () => number;
  /** How often the leader looks whether somebody changed Secret or `caBundle`. */
  readonly pollMs?: number;
}

const defaultPollMs = 10_000;
const backoff: Backoff = { firstMs: 500, maxMs: 30_000 };
/** From nothing to rest it takes four; more means that somebody undoes them. */
const stepsMax = 8;

interface Observed {
  readonly secret: Secret;
  readonly published: Published;
}

export class CertificateKeeper {
  readonly #options: Required<KeeperOptions>;
  /** `caBundle` as last seen, and since when, on the monotonic clock. */
  #seen = { bundle: '', sinceMs: 0 };

  constructor(options: KeeperOptions) {
    this.#options = { lifetimes: defaultLifetimes, now: Date.now, pollMs: defaultPollMs, ...options };
  }

  /** Keeps Secret and `caBundle` until the term is over; never rejects. May be called again, for the next term. */
  async lead(term: AbortSignal): Promise<void> {
    // What another leader published meanwhile is new to us.
    this.#seen = { bundle: '', sinceMs: performance.now() };
    let failures = 0;
    while (!term.aborted) {
      let waitMs: number;
      try {
        waitMs = await this.#advance(term);
        failures = 0;
      } catch (err) {
        if (term.aborted) return;
        failures += 1;
        waitMs = pauseMs(backoff, failures);
        this.#options.logger.warn(
          { err, attempt: failures, waitMs: Math.round(waitMs) },
          'the certificates of the webhook could not be looked after',
        );
      }
      await sleep(waitMs, undefined, { signal: term }).catch(() => undefined);
    }
  }

  /** Carries out steps until there is none. Returns in how many milliseconds to look again. */
  async #advance(term: AbortSignal): Promise<number> {
    const { client, namespace, names, lifetimes, now, pollMs } = this.#options;
    for (let steps = 0; steps < stepsMax; steps++) {
      const [secret, published] = await Promise.all([readSecret(client, namespace, term), readBundle(client, term)]);
      const observed = { data: dataOf(secret), bundle: published.bundle, publishedMs: this.#see(published), names };
      const step = plan(observed, now(), lifetimes);
      if (step.step === 'wait') return Math.min(step.forMs, pollMs * (0.75 + Math.random() / 2));
      await this.#carryOut(step, { secret, published }, term);
    }
    throw new Error(`somebody else keeps changing Secret ${secretName} or caBundle: end who does`);
  }

  /** For how long `caBundle` has been seen as it is. */
  #see({ bundle }: Published): number {
    if (bundle !== this.#seen.bundle) this.#seen = { bundle, sinceMs: performance.now() };
    return performance.now() - this.#seen.sinceMs;
  }

  async #carryOut(
    step: Exclude<Step, { step: 'wait' }>,
    { secret, published }: Observed,
    term: AbortSignal,
  ): Promise<void> {
    const { client, logger } = this.#options;
    switch (step.step) {
      case 'issue': {
        await writeSecret(client, secret, withNext(step.base, await this.#issue()), term);
        logger.info({ secret: secretName, why: step.why }, 'a new certificate of the webhook has been made');
        break;
      }
      case 'publish':
        await writeBundle(client, published, step.bundle, term);
        logger.info('caBundle has the authorities of the webhook');
        break;
      default:
        await writeSecret(client, secret, step.data, term);
        logger.info({ secret: secretName }, done[step.step]);
    }
  }

  async #issue(): ReturnType<typeof import('./issue.ts').issue> {
    const { names, now, lifetimes } = this.#options;
    const { issue } = await import('./issue.ts');
    return await issue(names, now(), lifetimes);
  }
}

const done = {
  promote: 'replicas serve with the new certificate from now on',
  mend: 'authorities that have expired, and what was no good, are gone',
} as const;
