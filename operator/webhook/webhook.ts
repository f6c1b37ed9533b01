/**
 * The webhook (O3): pods that bear the label get their sidecar when they are created. Every replica serves it; the leader
 * also keeps its certificates.
 *
 * | file | what |
 * |---|---|
 * | `server.ts`, `body-budget.ts`, `review.ts` | HTTPS, and the API server's question and answer |
 * | `admission.ts`, `patch.ts` | the verdict: pure |
 * | `certificates.ts`, `issue.ts` | which certificates there should be: pure; and making them |
 * | `keeper.ts`, `serving.ts`, `webhook-objects.ts` | the leader's part in them, each replica's, and where they are kept |
 */
import type { Logger } from 'pino';
import type { Check } from '../../sidecar/http/health.ts';
import { type ApiClient, ApiError } from '../client.ts';
import { asObject, objectPath, type WalStorage, walStorages } from '../kubernetes.ts';
import type { Operator } from '../operator.ts';
import { type AdmissionSettings, admit, type Lookup } from './admission.ts';
import type { Lifetimes } from './certificates.ts';
import { CertificateKeeper } from './keeper.ts';
import { type Outcome, WebhookServer } from './server.ts';
import { CertificateFollower, directorySource, secretSource } from './serving.ts';

/** Where its certificates come from: `tls.crt` and `tls.key` in a directory, or the Secret of this namespace. */
export type CertificateOrigin = { readonly directory: string } | { readonly namespace: string };

export interface WebhookOptions extends AdmissionSettings {
  /** HOST:PORT. */
  readonly address: string;
  readonly certificates: CertificateOrigin;
  /** Its writes are fenced by the election. */
  readonly client: ApiClient;
  readonly operator: Operator;
  readonly logger: Logger;
  /** Told of each answer. */
  readonly onAnswered: (outcome: Outcome, seconds: number) => void;
  /** Host names and IP addresses of the certificates; those of the Service by default. */
  readonly names?: readonly string[];
  readonly lifetimes?: Lifetimes;
  /** The wall clock of the certificates, in milliseconds. */
  readonly now?: () => number;
  /** How often certificates are looked at. */
  readonly pollMs?: number;
  readonly requestsPerConnection?: number;
}

const serviceName = 'walstorage-operator';

export class Webhook {
  readonly #server: WebhookServer;
  readonly #follower: CertificateFollower;
  /** Undefined where the certificates are somebody else's. */
  readonly #keeper: CertificateKeeper | undefined;

  private constructor(server: WebhookServer, options: WebhookOptions) {
    const { certificates, client, logger } = options;
    const timings = {
      ...(options.now === undefined ? {} : { now: options.now }),
      ...(options.pollMs === undefined ? {} : { pollMs: options.pollMs }),
    };
    const isKept = 'namespace' in certificates;
    const source = isKept ? secretSource(client, certificates.namespace) : directorySource(certificates.directory);
    this.#server = server;
    this.#follower = new CertificateFollower({ source, onPair: (pair) => server.use(pair), logger, ...timings });
    if (!isKept) return;
    const { namespace } = certificates;
    const names = options.names ?? serviceNames(namespace);
    const lifetimes = options.lifetimes === undefined ? {} : { lifetimes: options.lifetimes };
    this.#keeper = new CertificateKeeper({ client, namespace, names, logger, ...lifetimes, ...timings });
  }

  /** Listens; trusted by the API server once `serve` has found a certificate. Rejects with what to change. */
  static async listen(options: WebhookOptions): Promise<Webhook> {
    const { address, onAnswered, logger, requestsPerConnection } = options;
    const server = await WebhookServer.listen({
      address,
      ...(requestsPerConnection === undefined ? {} : { requestsPerConnection }),
      admit: (request, signal) => admit(request, lookupIn(options, signal), options),
      onAnswered,
      logger,
    });
    return new Webhook(server, options);
  }

  /** HOST:PORT as it really listens. */
  get address(): string {
    return this.#server.address;
  }

  /** When the certificate ends, in milliseconds of the wall clock; undefined before there is one. */
  get expiresMs(): number | undefined {
    return this.#follower.expiresMs;
  }

  /** What must hold for the API server to get answers. */
  checks(): Check[] {
    const ok = this.#server.listening;
    return [{ name: 'webhook', ok, message: ok ? '' : 'The webhook does not listen.' }, this.#follower.check()];
  }

  /** Keeps what it serves with up to date until the signal, and ends then. Every replica does this, once. */
  async serve(signal: AbortSignal): Promise<void> {
    await this.#follower.follow(signal);
    await this.close();
  }

  /** Answers what is under way, and ends. Does nothing the second time. */
  async close(): Promise<void> {
    await this.#server.close();
  }

  /** Keeps the certificates until the term is over, if they are ours. */
  async lead(term: AbortSignal): Promise<void> {
    await this.#keeper?.lead(term);
  }
}

function serviceNames(namespace: string): string[] {
  return [`${serviceName}.${namespace}.svc`, `${serviceName}.${namespace}.svc.cluster.local`];
}

/** The operator's copies; what they lack is asked for once, as they may be behind. */
function lookupIn({ operator, client }: WebhookOptions, signal: AbortSignal): Lookup {
  return {
    isWatched: (namespace) => operator.isWatched(namespace),
    names: (namespace) => operator.storageNames(namespace),
    holderOf: (place, butFor) => operator.sharedPlaces.holderOf(place, butFor),
    storage: async (namespace, name) => {
      const known = operator.lookUp(namespace, name);
      if (known !== undefined) return known;
      try {
        return asObject<WalStorage>(await client.get(objectPath(walStorages, namespace, name), {}, signal));
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return undefined;
        throw error;
      }
    },
  };
}
