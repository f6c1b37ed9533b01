/** The webhook of this process for a real API server, configured by URL; its clock is the test's. */
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:tls';
import pino from 'pino';
import { ApiClient } from '../operator/client.ts';
import { storageLabel } from '../operator/kubernetes.ts';
import type { Lifetimes } from '../operator/webhook/certificates.ts';
import { type CertificateOrigin, Webhook } from '../operator/webhook/webhook.ts';
import type { ControlPlane } from './cluster/control-plane.ts';
import { configOf, RunningOperator } from './running-operator.ts';

/** The operator's own namespace. */
export const systemNamespace = 'default';

const minuteMs = 60_000;
/** Short lives, so that a clock that is hours ahead still makes what is valid now. */
export const lifetimes: Lifetimes = { validMs: 60 * minuteMs, skewMs: 48 * 60 * minuteMs, settleMs: 2_000 };
/** After so long a new certificate is due. */
const renewalMs = 45 * minuteMs;

/** As the chart makes it, for the operator to fill. */
export const emptySecret = {
  apiVersion: 'v1',
  kind: 'Secret',
  type: 'Opaque',
  metadata: {
    name: 'walstorage-operator-webhook',
    namespace: systemNamespace,
    labels: { 'app.kubernetes.io/managed-by': 'Helm' },
  },
};

/** As the chart makes it, but for where the webhook is. */
export async function configureWebhook(plane: ControlPlane, address: string, caBundle?: string): Promise<void> {
  const url = `https://${address}/inject`;
  await plane.apply({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'walstorage-operator' },
    webhooks: [
      {
        name: 'inject.wal.proximadb.io',
        admissionReviewVersions: ['v1'],
        clientConfig: { url, ...(caBundle === undefined ? {} : { caBundle }) },
        rules: [
          { apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'], scope: 'Namespaced' },
        ],
        objectSelector: { matchExpressions: [{ key: storageLabel, operator: 'Exists' }] },
        failurePolicy: 'Fail',
        matchPolicy: 'Equivalent',
        reinvocationPolicy: 'IfNeeded',
        sideEffects: 'None',
        timeoutSeconds: 10,
      },
    ],
  });
}

/** A webhook and what ends it. */
interface Serving {
  readonly webhook: Webhook;
  stop(): Promise<void>;
}

export class RunningWebhook {
  /** Of each answer. */
  readonly outcomes: string[] = [];
  readonly log: string[] = [];
  readonly #operator: RunningOperator;
  readonly #client: ApiClient;
  #serving: Serving | undefined;
  #leading: { stop(): Promise<void> } | undefined;
  #aheadMs = 0;

  private constructor(plane: ControlPlane) {
    this.#operator = new RunningOperator(plane, { namespaces: [] });
    this.#client = new ApiClient(configOf(plane), 'walstorage-operator/test');
  }

  /** One that leads and is configured, once it has a certificate and every WalStorage is known. */
  static async start(plane: ControlPlane): Promise<RunningWebhook> {
    const running = new RunningWebhook(plane);
    await running.serve();
    await plane.apply(emptySecret);
    await configureWebhook(plane, running.address);
    running.lead();
    await running.#operator.whenIdle();
    return running;
  }

  get address(): string {
    return this.#webhook.address;
  }

  /** Its wall clock, in milliseconds. */
  get now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** Whether it has a certificate. */
  get isReady(): boolean {
    return this.#webhook.checks().every(({ ok }) => ok);
  }

  get #webhook(): Webhook {
    if (this.#serving === undefined) throw new Error('the webhook is down');
    return this.#serving.webhook;
  }

  /** Listens, on a free port or where it did before. */
  async serve(address = '127.0.0.1:0'): Promise<void> {
    this.#serving = await this.startServing({ namespace: systemNamespace }, address);
  }

  /** Another webhook beside, of the same operator. */
  async startServing(certificates: CertificateOrigin, address = '127.0.0.1:0'): Promise<Serving> {
    const webhook = await Webhook.listen({ ...this.#options(certificates), address });
    const ending = new AbortController();
    const ended = webhook.serve(ending.signal);
    const stop = async (): Promise<void> => {
      ending.abort();
      await ended;
    };
    return { webhook, stop };
  }

  /** Ends the server, as when the last replica is gone. */
  async down(): Promise<void> {
    await this.#serving?.stop();
    this.#serving = undefined;
  }

  /** Looks after the certificates from now on. */
  lead(): void {
    const ending = new AbortController();
    const ended = this.#webhook.lead(ending.signal);
    this.#leading = {
      stop: async () => {
        ending.abort();
        await ended;
      },
    };
  }

  async stopLeading(): Promise<void> {
    await this.#leading?.stop();
    this.#leading = undefined;
  }

  /** Its clock goes on by so much that a new certificate is due. */
  passTime(): void {
    this.#aheadMs += renewalMs;
  }

  async stop(): Promise<void> {
    await this.stopLeading();
    await this.down();
    await this.#operator.stop();
    this.#client.close();
  }

  #options(certificates: CertificateOrigin): Parameters<typeof Webhook.listen>[0] {
    return {
      address: '',
      image: 'walstorage:test',
      operatorVersion: '1.2.3',
      certificates,
      client: this.#client,
      operator: this.#operator.operator,
      logger: pino({ level: 'info' }, { write: (line: string) => this.log.push(line) }),
      onAnswered: (outcome) => this.outcomes.push(outcome),
      names: ['127.0.0.1'],
      lifetimes,
      now: () => this.now,
      pollMs: 200,
      // Each pod is then another handshake.
      requestsPerConnection: 1,
    };
  }
}

/** The certificate that a server at HOST:PORT shows. */
export async function shownCertificate(address: string): Promise<X509Certificate> {
  const [host = '', port = ''] = address.split(':');
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate() ?? new X509Certificate('');
  } finally {
    socket.destroy();
  }
}
