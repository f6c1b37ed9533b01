/** `walstorage operator`: from its flags to a running operator. Imported only by that command: it costs 300 ms (O10). */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import type { Logger } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import { addressOf, closeServer } from '../sidecar/http/listen.ts';
import { ApiClient } from './client.ts';
import { Election } from './election.ts';
import { serveHttp } from './http.ts';
import { OperatorMetrics } from './metrics.ts';
import { Operator } from './operator.ts';
import { type ClusterConfig, ServiceAccount } from './service-account.ts';
import { type CertificateOrigin, Webhook } from './webhook/webhook.ts';

export interface OperatorFlags {
  /** A file; undefined: the service account of the pod that this runs in. */
  readonly kubeconfig?: string | undefined;
  /** HOST:PORT of health and metrics. */
  readonly http: string;
  /** Empty: all. */
  readonly namespaces: readonly string[];
  /** HOST:PORT of the webhook; undefined: pods get no sidecar. */
  readonly webhook?: string | undefined;
  /** The sidecar's image where a WalStorage names none; the webhook needs it. */
  readonly image?: string | undefined;
  /** Where `tls.crt` and `tls.key` of the webhook are mounted; undefined: the operator makes its own. */
  readonly tlsDir?: string | undefined;
  readonly logger: Logger;
  /** Ends the operator. */
  readonly signal: AbortSignal;
}

/**
 * Runs the operator until the signal, and resolves when all of it has ended. Rejects at the start where the
 * kubeconfig can't be used or the HTTP address is taken; what fails later is tried again.
 *
 * With POD_NAMESPACE and POD_NAME in the environment it is one of several replicas, of which one works at a time;
 * without (`--kubeconfig` on a developer's machine) it works at once.
 */
export async function runOperator(flags: OperatorFlags): Promise<void> {
  // Garbage is collected before the heap grows: a third less memory, and the operator waits most of the time anyway.
  setFlagsFromString('--optimize-for-size');
  const { kubeconfig, http, namespaces, logger, signal } = flags;
  const { version } = packageJson;
  const identity = ownIdentity();
  const webhookSettings = webhookSettingsOf(flags, identity?.namespace);
  const config = await loadConfig(kubeconfig);
  // The audit log then tells which replica wrote what.
  const userAgent = `walstorage-operator/${version}${identity === undefined ? '' : ` (${identity.name})`}`;
  const leaseClient = new ApiClient(config, userAgent);
  const election =
    identity === undefined
      ? undefined
      : new Election({ client: leaseClient, namespace: identity.namespace, identity: identity.name, logger });
  const client = new ApiClient(config, userAgent, election);
  const metrics = new OperatorMetrics();
  const onReconciled = metrics.reconciled.bind(metrics);
  const instance = identity?.name ?? hostname();
  const operator = new Operator({ client, namespaces, version, instance, logger, onReconciled });
  metrics.observe(operator, election);
  const onAnswered = metrics.answered.bind(metrics);
  const webhook =
    webhookSettings === undefined
      ? undefined
      : await Webhook.listen({ ...webhookSettings, operatorVersion: version, client, operator, logger, onAnswered });
  if (webhook !== undefined) metrics.observeWebhook(webhook);
  const server = await serveHttp(operator, webhook, metrics, http).catch(async (error: unknown) => {
    await webhook?.close();
    throw error;
  });
  logger.info({ http: addressOf(server), webhook: webhook?.address, version }, 'operator starts');
  const lead = async (term: AbortSignal): Promise<void> => {
    await Promise.all([operator.work(term), webhook?.lead(term)]);
  };
  try {
    await untilAllEnd(signal, [
      (stop) => operator.watch(stop),
      async (stop) => await webhook?.serve(stop),
      (stop) => (election === undefined ? lead(stop) : election.run(stop, lead)),
    ]);
  } finally {
    client.close();
    leaseClient.close();
    await closeServer(server);
  }
  logger.info('operator has ended');
}

/** What the flags say of the webhook; undefined without one. Throws an Error where one lacks what it needs. */
function webhookSettingsOf(
  { webhook, image, tlsDir }: OperatorFlags,
  namespace: string | undefined,
): { readonly address: string; readonly image: string; readonly certificates: CertificateOrigin } | undefined {
  if (webhook === undefined) {
    if (tlsDir !== undefined)
      throw new Error('--tls-dir is for the webhook: name its address with --webhook HOST:PORT');
    return undefined;
  }
  if (image === undefined || image === '') {
    throw new Error(
      '--webhook needs --image NAME (or WALSTORAGE_IMAGE): the image of the sidecars that it adds to pods',
    );
  }
  if (tlsDir !== undefined) return { address: webhook, image, certificates: { directory: tlsDir } };
  if (namespace === undefined) {
    throw new Error(
      '--webhook needs a certificate: set POD_NAMESPACE and POD_NAME (the operator then keeps one in a Secret of that ' +
        'namespace), or name a directory that holds tls.crt and tls.key with --tls-dir DIR',
    );
  }
  return { address: webhook, image, certificates: { namespace } };
}

/** Runs the parts until the signal. When one of them fails the others are stopped, and it rejects with that failure. */
async function untilAllEnd(
  signal: AbortSignal,
  parts: readonly ((stop: AbortSignal) => Promise<void>)[],
): Promise<void> {
  const ending = new AbortController();
  const end = (): void => ending.abort();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  const running = parts.map((part) => part(ending.signal));
  try {
    await Promise.all(running);
  } finally {
    end();
    await Promise.allSettled(running);
  }
}

/** Of this process among the replicas: the same pod's next process is another. Undefined: it is the only one. */
function ownIdentity(): { readonly namespace: string; readonly name: string } | undefined {
  const { POD_NAMESPACE: namespace = '', POD_NAME: name = '' } = process.env;
  if (namespace === '') return undefined;
  if (name === '')
    throw new Error('POD_NAMESPACE is set without POD_NAME: set both (the replicas elect one), or neither');
  return { namespace, name: `${name}_${randomBytes(4).toString('hex')}` };
}

async function loadConfig(kubeconfig: string | undefined): Promise<ClusterConfig> {
  if (kubeconfig !== undefined) {
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    config.loadFromFile(kubeconfig);
    return config;
  }
  const account = ServiceAccount.of(process.env);
  if (account !== undefined) return account;
  throw new Error('this is no pod (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig with --kubeconfig FILE');
}
