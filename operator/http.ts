/**
 * The operator's HTTP: health and metrics.
 *
 * | path | 200 |
 * |---|---|
 * | `/startupz`, `/readyz` | every watched resource has been listed: the operator works; else 503 |
 * | `/livez` | the event loop turns |
 * | `/metrics` | Prometheus text |
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import express, { type Express } from 'express';
import type { OperatorMetrics } from './metrics.ts';
import type { Operator } from './operator.ts';

/** A server of the operator's HTTP, listening; `address` is HOST:PORT, or [IPv6]:PORT, with port 0 for a free one. */
export async function serveHttp(operator: Operator, metrics: OperatorMetrics, address: string): Promise<Server> {
  const url = URL.canParse(`http://${address}`) ? new URL(`http://${address}`) : undefined;
  const port = /:(\d+)$/.exec(address)?.[1];
  if (url === undefined || port === undefined) {
    throw new Error(`--http ${address} is no address: write HOST:PORT, for example 0.0.0.0:9465`);
  }
  const server = createServer(appOf(operator, metrics));
  server.listen(Number(port), url.hostname.replace(/^\[|\]$/g, ''));
  await once(server, 'listening');
  return server;
}

function appOf(operator: Operator, metrics: OperatorMetrics): Express {
  const app = express();
  app.disable('x-powered-by');
  const listed = (): Record<string, boolean> =>
    Object.fromEntries(operator.reflectors.map(({ path, synced }) => [`listed ${path}`, synced]));
  app.get('/startupz', health(listed));
  app.get('/readyz', health(listed));
  app.get('/livez', health(alive));
  app.get('/metrics', async (_, response) => {
    response.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
  return app;
}

function health(checks: () => Record<string, boolean>): express.RequestHandler {
  return (_, response) => {
    const found = checks();
    const ok = Object.values(found).every(Boolean);
    response.status(ok ? 200 : 503).json({ status: ok ? 'ok' : 'failing', checks: found });
  };
}

function alive(): Record<string, boolean> {
  return { 'event loop': true };
}
