/** `walstorage operator`: from its flags to a running operator. Imported only by that command: it costs 300 ms (O10). */
import { randomBytes } from 'node:crypto';
import { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import { addressOf, closeServer } from '../sidecar/http/listen.ts';
import { ApiClient } from './client.ts';
import { Election } from './election.ts';
import { serveHttp } from './http.ts';
import { OperatorMetrics } from './metrics.ts';
import { Operator } from './operator.ts';

export interface OperatorFlags {
  /** A file; undefined: the service account of the pod that this runs in. */
  readonly kubeconfig?: string | undefined;
  /** HOST:PORT of health and metrics. */
  readonly http: string;
  /** Empty: all. */
  readonly namespaces: readonly string[];
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
export async function runOperator({ kubeconfig, http, namespaces, logger, signal }: OperatorFlags): Promise<void> {
  const { version } = packageJson;
  const config = loadConfig(kubeconfig);
  const identity = ownIdentity();
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
  const operator = new Operator({ client, namespaces, version, logger, onReconciled });
  metrics.observe(operator, election);
  const server = await serveHttp(operator, metrics, http);
  logger.info({ http: addressOf(server), version }, 'operator starts');
  const lead = (term: AbortSignal): Promise<void> => operator.work(term);
  try {
    await untilAllEnd(signal, [
      (stop) => operator.watch(stop),
      (stop) => (election === undefined ? lead(stop) : election.run(stop, lead)),
    ]);
  } finally {
    client.close();
    leaseClient.close();
    await closeServer(server);
  }
  logger.info('operator has ended');
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

function loadConfig(kubeconfig: string | undefined): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig !== undefined) {
    config.loadFromFile(kubeconfig);
    return config;
  }
  if (process.env['KUBERNETES_SERVICE_HOST'] === undefined) {
    throw new Error('this is no pod (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig with --kubeconfig FILE');
  }
  config.loadFromCluster();
  return config;
}
