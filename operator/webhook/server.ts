/**
 * HTTPS for the API server: `POST /inject` takes an AdmissionReview and answers with one. Anybody who reaches the port can
 * send anything, so that everything has a limit, and what is no review gets an HTTP error and is not repeated in it (R7).
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import express, { type ErrorRequestHandler, type Request, type RequestHandler, type Response } from 'express';
import type { Logger } from 'pino';
import { addressOf, bind } from '../../sidecar/http/listen.ts';
import { BodyBudget } from './body-budget.ts';
import type { Pair } from './certificates.ts';
import { type AdmissionRequest, asAdmissionRequest, ReviewError, reviewOf, type Verdict } from './review.ts';

export type Outcome = 'allowed' | 'refused' | 'error';

export interface WebhookServerOptions {
  /** HOST:PORT, or [IPv6]:PORT; port 0 for a free one. */
  readonly address: string;
  /** The verdict on a request; the signal aborts when it would come too late. */
  readonly admit: (request: AdmissionRequest, signal: AbortSignal) => Promise<Verdict>;
  /** Told of each answer. */
  readonly onAnswered: (outcome: Outcome, seconds: number) => void;
  readonly logger: Logger;
  /** After so many answers a connection is closed. */
  readonly requestsPerConnection?: number;
}

const injectPath = '/inject';
/** R5: a pod has at most 1.5 MB, and a review holds it once. */
const bodyBytesMax = 4 * 1024 * 1024;
/** API servers and their connections; each carries one request at a time. */
const connectionsMax = 512;
const handshakeTimeoutMs = 5_000;
/** From its head to the last byte of its body. */
const bodyTimeoutMs = 5_000;
/** The API server asks for an answer in 10 s. */
const answerWithinMs = 8_000;
/** A Service chooses a replica for each connection: without an end, one that has just started would get no requests. */
const defaultRequestsPerConnection = 1_000;
/**
 * Longer than the API server keeps an idle connection, which is 90 s: whoever closes first must not be us, while a request is
 * sent. Also one that never carried a request: Go's transport keeps the connection that came when another was free already,
 * and an unasked 408 on it would be the answer to the next review.
 */
const keepAliveMs = 120_000;
/** For requests that are being answered when the server is to end; connections that have carried none are waited for, too. */
const endWithinMs = 3_000;
const tls = { minVersion: 'TLSv1.2' } as const;

export class WebhookServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens; until it has a certificate every handshake fails. Rejects with what to change. */
  static async listen(options: WebhookServerOptions): Promise<WebhookServer> {
    const timeouts = {
      headersTimeout: keepAliveMs,
      requestTimeout: keepAliveMs,
      handshakeTimeout: handshakeTimeoutMs,
      keepAliveTimeout: keepAliveMs,
    };
    const server = createServer({ ...tls, ...timeouts }, appOf(options));
    server.maxConnections = connectionsMax;
    server.maxRequestsPerSocket = options.requestsPerConnection ?? defaultRequestsPerConnection;
    server.timeout = keepAliveMs;
    await bind(server, options.address, 'the address of the webhook');
    return new WebhookServer(server);
  }

  /** HOST:PORT as it really listens. */
  get address(): string {
    return addressOf(this.#server);
  }

  get listening(): boolean {
    return this.#server.listening;
  }

  /** Serves new connections with this certificate; those that are open go on. */
  use({ certificate, key }: Pair): void {
    this.#server.setSecureContext({ ...tls, cert: certificate, key });
  }

  /** Takes no more connections, answers what is under way, and ends. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const stop = new AbortController();
    const closed = once(this.#server, 'close').then(() => stop.abort());
    this.#server.close();
    await sleep(endWithinMs, undefined, { signal: stop.signal }).catch(() => undefined);
    this.#server.closeAllConnections();
    await closed;
  }
}

function appOf(options: WebhookServerOptions): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.use((request, response, next) => {
    response.locals['startMs'] = performance.now();
    const late = setTimeout(() => request.socket.destroy(), bodyTimeoutMs);
    for (const over of ['end', 'close']) request.once(over, () => clearTimeout(late));
    next();
  });
  const bodies = new BodyBudget();
  const hold: RequestHandler = (request, response, next) => {
    bodies.hold(request, response);
    next();
  };
  const json = express.json({ limit: bodyBytesMax, type: () => true, inflate: false });
  app.post(injectPath, hold, json, (request, response, next) => {
    answer(request, response, options).catch(next);
  });
  app.use((_request, response) => {
    response.status(404).type('text').send(`only POST ${injectPath} is answered here`);
  });
  const fail: ErrorRequestHandler = (error: unknown, _request, response, next) => {
    const [status, why] = failureOf(error);
    options.logger.warn({ status, why, ...(status === 500 ? { err: error } : {}) }, 'a request to the webhook failed');
    answered(response, 'error', options);
    if (response.headersSent) next(error);
    else response.status(status).type('text').send(why);
  };
  app.use(fail);
  return app;
}

async function answer(request: Request, response: Response, options: WebhookServerOptions): Promise<void> {
  const review = asAdmissionRequest(request.body);
  const verdict = await options.admit(review, AbortSignal.timeout(answerWithinMs));
  response.json(reviewOf(review.uid, verdict));
  if (!('refusal' in verdict)) {
    answered(response, 'allowed', options);
    return;
  }
  const { namespace, pod } = review;
  const name = pod?.metadata.name ?? pod?.metadata.generateName;
  options.logger.info({ namespace, pod: name, why: verdict.refusal }, 'a pod was refused');
  answered(response, verdict.code === 403 ? 'refused' : 'error', options);
}

function answered(response: Response, outcome: Outcome, { onAnswered }: WebhookServerOptions): void {
  const { startMs } = response.locals;
  onAnswered(outcome, (performance.now() - Number(startMs)) / 1000);
}

/** The status and the words for a body that could not be read, or is no review; 500 for a fault of ours. */
function failureOf(error: unknown): readonly [status: number, why: string] {
  if (error instanceof ReviewError) return [400, error.message];
  switch (typeof error === 'object' && error !== null && 'status' in error ? error.status : undefined) {
    case undefined:
      return [500, 'the request could not be answered; the log of the operator says why'];
    case 413:
      return [413, `the body has more than ${bodyBytesMax} bytes`];
    case 415:
      return [415, 'the body is compressed, or not in UTF-8'];
    default:
      // The parser's own words hold a piece of the body.
      return [400, 'the body is no JSON, or was cut'];
  }
}
