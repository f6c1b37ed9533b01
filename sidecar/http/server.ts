/**
 * The sidecar's HTTP (interfaces, section 5).
 *
 * | path | who | answer |
 * |---|---|---|
 * | `/startupz`, `/readyz`, `/livez` | anybody: the kubelet asks from outside the pod | 200 or 503, every check |
 * | `/metrics` | anybody | Prometheus text |
 * | `/v1/assignments`, `/v1/urls`, `/v1/config`, `/` | in a pod only loopback: names of collections are nobody's business | JSON; the status page |
 *
 * It listens before the URLs are recovered, so that the startup probe has an answer. Errors are `{"error": {"code", "message"}}`.
 */
import type { Server } from 'node:http';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import { WalError } from '../errors.ts';
import { pageOf, parseAssignmentQuery } from './assignment-page.ts';
import { configurationView } from './configuration-view.ts';
import { routeHealth } from './health.ts';
import { listen } from './listen.ts';
import { sidecarMetrics } from './metrics.ts';
import { statusPage, statusPageHeaders } from './status-page.ts';
import type { SidecarView } from './view.ts';

const paths = ['/', '/startupz', '/readyz', '/livez', '/metrics', '/v1/assignments', '/v1/urls', '/v1/config'];

export interface HttpOptions {
  /** HOST:PORT; port 0 for a free one. */
  readonly address: string;
  /** In a pod, collections are shown on loopback only. */
  readonly isPod: boolean;
  readonly view: SidecarView;
}

/** Listens, and resolves with the server; `closeServer` of listen.ts ends it. Rejects with what to change. */
export async function serveHttp(options: HttpOptions): Promise<Server> {
  return await listen(options.address, appOf(options));
}

function appOf({ isPod, view }: HttpOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(readOnly);
  routeHealth(app, view);
  const registry = sidecarMetrics(view);
  app.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(await registry.metrics());
  });
  if (isPod) app.use(loopbackOnly);
  app.get('/v1/assignments', (request, response) => {
    const query = parseAssignmentQuery(new URL(request.originalUrl, 'http://localhost').searchParams);
    response.json(pageOf(query, (component) => view.assignments(component)));
  });
  app.get('/v1/urls', (_request, response) => {
    response.json({ urls: view.urls(), removed: view.removedUrls(), findings: view.findings() });
  });
  app.get('/v1/config', (_request, response) => {
    const { configurationFile: file } = view;
    const [configHash, error, pendingKeys] = [view.configHash(), view.configError(), view.pendingKeys()];
    const state = error === '' ? { file, configHash, pendingKeys } : { file, configHash, pendingKeys, error };
    response.json({ ...state, configuration: configurationView(view.configuration()) });
  });
  app.get('/', (_request, response) => {
    response.set(statusPageHeaders).type('html').send(statusPage(view, new Date()));
  });
  app.use(notFound);
  app.use(failed);
  return app;
}

const readOnly: RequestHandler = ({ method }, response, next) => {
  if (method === 'GET' || method === 'HEAD') {
    next();
    return;
  }
  response
    .status(405)
    .set('allow', 'GET, HEAD')
    .json(errorBody('INVALID', `${method} is not served: use GET.`));
};

const loopbackOnly: RequestHandler = ({ socket, path }, response, next) => {
  const from = socket.remoteAddress ?? '';
  if (/^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/.test(from)) {
    next();
    return;
  }
  const remedy = 'ask from within the pod, for example through kubectl port-forward.';
  response.status(403).json(errorBody('INVALID', `${path} is served on loopback only: ${remedy}`));
};

const notFound: RequestHandler = ({ path }, response) => {
  response.status(404).json(errorBody('NOTFOUND', `There is no ${path}: ask ${paths.join(', ')}.`));
};

const failed: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) {
    next(error);
    return;
  }
  if (error instanceof WalError) {
    response.status(error.code === 'INVALID' ? 400 : 503).json(errorBody(error.code, error.message));
    return;
  }
  // Express itself: a path that is no UTF-8.
  if (error instanceof URIError)
    response.status(400).json(errorBody('INVALID', 'The path is no valid URL: escape it as %XX.'));
  else
    response
      .status(500)
      .json(errorBody('ERR', `The answer failed: ${error instanceof Error ? error.message : String(error)}`));
};

function errorBody(code: string, message: string) {
  return { error: { code, message } };
}
