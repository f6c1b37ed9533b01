/**
 * The operator's HTTP: health and metrics.
 *
 * | path | 200 |
 * |---|---|
 * | `/startupz`, `/readyz` | every watched resource has been listed; else 503. Ready also: the webhook, if any, has a certificate |
 * | `/livez` | the event loop turns |
 * | `/metrics` | Prometheus text |
 */
import type { Server } from 'node:http';
import express from 'express';
import { type Check, routeHealth } from '../sidecar/http/health.ts';
import { listen } from '../sidecar/http/listen.ts';
import type { OperatorMetrics } from './metrics.ts';
import type { Operator } from './operator.ts';
import type { Webhook } from './webhook/webhook.ts';

/** A server of the operator's HTTP, listening; `address` is HOST:PORT, or [IPv6]:PORT, with port 0 for a free one. */
export async function serveHttp(
  operator: Operator,
  webhook: Webhook | undefined,
  metrics: OperatorMetrics,
  address: string,
): Promise<Server> {
  const app = express();
  app.disable('x-powered-by');
  const listed = (): Check[] =>
    operator.reflectors.map(({ path, synced: ok }) => {
      return { name: `listed ${path}`, ok, message: ok ? '' : `${path} has not been listed yet.` };
    });
  routeHealth(app, { startup: listed, readiness: () => [...listed(), ...(webhook?.checks() ?? [])] });
  app.get('/metrics', async (_, response) => {
    response.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
  return listen(address, app);
}
