/** `walstorage operator`: from its flags to a running operator. Imported only by that command: it costs 300 ms (O10). */
import { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import { addressOf, closeServer } from '../sidecar/http/listen.ts';
import { ApiClient } from './client.ts';
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
 */
export async function runOperator({ kubeconfig, http, namespaces, logger, signal }: OperatorFlags): Promise<void> {
  const { version } = packageJson;
  const client = new ApiClient(loadConfig(kubeconfig), `walstorage-operator/${version}`);
  const metrics = new OperatorMetrics();
  const onReconciled = metrics.reconciled.bind(metrics);
  const operator = new Operator({ client, namespaces, version, logger, onReconciled });
  metrics.observe(operator);
  const server = await serveHttp(operator, metrics, http);
  logger.info({ http: addressOf(server), version }, 'operator starts');
  try {
    await operator.run(signal);
  } finally {
    client.close();
    await closeServer(server);
  }
  logger.info('operator has ended');
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
