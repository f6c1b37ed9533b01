/**
 * Requests to the API server over node:https, with the address, TLS options and credentials of a KubeConfig. The
 * generated client isn't used: it decodes every object into classes, and its watch swallows errors (O10).
 *
 * Every request has a deadline, and connections are kept alive between requests; a KubeConfig's own agent, without
 * keep-alive, is used only where it leads through a proxy.
 *
 * A write is sent whole or not at all: its bytes go out in one piece once the connection stands, right after a look at
 * the signal and the fence. So none that was held up before, by a connection or by a process that was stopped, leaves
 * when it may no longer. One that has been sent is waited for a little even when the signal aborts: else nobody would
 * know whether it was carried out.
 */
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { AuthorizedOptions, ClusterConfig } from './service-account.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** Says how long writes may still be sent, and their answers be waited for. */
export interface Fence {
  /** Milliseconds; none where it is 0 or less. */
  readonly remainingMs: number;
}

/** An answer of the API server that is no success: its Status object, as far as it could be read. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** The HTTP status, or the `code` of an ERROR event in a watch. */
  readonly status: number;
  /** Machine-readable, as `Conflict`; empty where the server gave none. */
  readonly reason: string;
  /** The server's own words. */
  readonly said: string;
  /** How long the server asks to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, reason: string, context: string, said: string, retryAfterMs?: number) {
    super(`${context}: ${said}`);
    this.status = status;
    this.reason = reason;
    this.said = said;
    this.retryAfterMs = retryAfterMs;
  }

  /** From the Status object of a failed request or of a watch's ERROR event. */
  static from(status: unknown, code: number, context: string, retryAfterHeader?: string): ApiError {
    const { code: ownCode, reason, message, details } = statusFields(status);
    const seconds = Number(retryAfterHeader ?? details?.retryAfterSeconds ?? Number.NaN);
    const retryAfterMs = seconds >= 0 ? seconds * 1000 : undefined;
    return new ApiError(ownCode ?? code, reason ?? '', context, message ?? `status ${code}`, retryAfterMs);
  }
}

interface StatusFields {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly retryAfterSeconds?: number };
}

function statusFields(status: unknown): StatusFields {
  return typeof status === 'object' && status !== null ? status : {};
}

interface Request {
  readonly method: 'GET' | 'PATCH' | 'POST' | 'PUT';
  readonly path: string;
  readonly query?: Query;
  readonly body?: object;
  readonly contentType?: string;
  /** From the first byte sent to the last received. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

const requestDeadlineMs = 30_000;
/** How long the answer to a write is still waited for once its signal has aborted. */
const lastAnswerMs = 2_000;
const notLeading = 'not sent: this replica does not lead, or no longer';
const idleConnectionMs = 30_000;
const watchKeepAliveMs = 15_000;
/** The server refuses objects above about 1.5 MB; JSON in a watch event is at most a few times that. */
const lineBytesMax = 16 * 1024 * 1024;

export class ApiClient {
  readonly #config: ClusterConfig;
  readonly #server: URL;
  readonly #proxied: boolean;
  readonly #agent: http.Agent | https.Agent;
  readonly #userAgent: string;
  readonly #fence: Fence | undefined;

  /**
   * `config` must name a current cluster (else an Error that says so); `userAgent` stands in the audit log. Writes are
   * sent only as long as the fence lets them; without one, always.
   */
  constructor(config: ClusterConfig, userAgent: string, fence?: Fence) {
    const cluster = config.getCurrentCluster();
    if (cluster === null) {
      throw new Error('the kubeconfig has no current cluster: set current-context, or name one with a cluster');
    }
    this.#config = config;
    this.#server = new URL(cluster.server);
    this.#proxied = cluster.proxyUrl !== undefined && cluster.proxyUrl !== '';
    const options = { keepAlive: true, timeout: idleConnectionMs };
    this.#agent = this.#server.protocol === 'http:' ? new http.Agent(options) : new https.Agent(options);
    this.#userAgent = userAgent;
    this.#fence = fence;
  }

  /** The decoded answer to a GET. Throws ApiError on an answer that is no success, Error on a broken connection. */
  get(path: string, query: Query, signal: AbortSignal, deadlineMs = requestDeadlineMs): Promise<unknown> {
    return this.#exchange({ method: 'GET', path, query, deadlineMs, signal });
  }

  /** Server-side apply under a field manager, taking over what others own; returns the object as stored. */
  apply(path: string, fieldManager: string, object: object, signal: AbortSignal): Promise<unknown> {
    const query = { fieldManager, force: true };
    const contentType = 'application/apply-patch+yaml';
    const deadlineMs = requestDeadlineMs;
    return this.#exchange({ method: 'PATCH', path, query, body: object, contentType, deadlineMs, signal });
  }

  /** Creates an object (POST to its collection, or to a subresource such as `eviction`); returns it as stored. */
  create(path: string, object: object, signal: AbortSignal, deadlineMs = requestDeadlineMs): Promise<unknown> {
    return this.#write('POST', path, object, signal, deadlineMs);
  }

  /** Replaces an object; bound to the version that was read where it has a resourceVersion. Returns it as stored. */
  replace(path: string, object: object, signal: AbortSignal, deadlineMs = requestDeadlineMs): Promise<unknown> {
    return this.#write('PUT', path, object, signal, deadlineMs);
  }

  /**
   * The complete lines of a streaming answer, as they come; what follows the last line end when the stream ends is
   * dropped (a server that dies cuts lines). Throws as `get`, and when the stream breaks or outlives `deadlineMs`.
   */
  async *lines(path: string, query: Query, deadlineMs: number, signal: AbortSignal): AsyncGenerator<string> {
    const response = await this.#send({ method: 'GET', path, query, deadlineMs, signal });
    response.socket.setKeepAlive(true, watchKeepAliveMs);
    response.setEncoding('utf8');
    let rest = '';
    for await (const chunk of response) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > lineBytesMax) throw new Error(`${path}: a line of over ${lineBytesMax} bytes in the stream`);
      yield* lines;
    }
  }

  /** Ends the connections that wait for a next request. */
  close(): void {
    this.#agent.destroy();
  }

  #write(
    method: 'POST' | 'PUT',
    path: string,
    body: object,
    signal: AbortSignal,
    deadlineMs: number,
  ): Promise<unknown> {
    return this.#exchange({ method, path, body, contentType: 'application/json', deadlineMs, signal });
  }

  async #exchange(request: Request): Promise<unknown> {
    const response = await this.#send(request);
    return parseJson(await text(response), `${request.method} ${request.path}`);
  }

  async #send(request: Request): Promise<http.IncomingMessage> {
    const headers: http.OutgoingHttpHeaders = { accept: 'application/json', 'user-agent': this.#userAgent };
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    if (body !== undefined) {
      headers['content-type'] = request.contentType;
      headers['content-length'] = Buffer.byteLength(body);
    }
    const options: AuthorizedOptions = { method: request.method, headers };
    // Adds the credentials to these headers; a token file is read again when it may have changed.
    await this.#config.applyToHTTPSOptions(options);
    if (!this.#proxied) options.agent = this.#agent;
    const response = await respond(this.#url(request), options, body, request, this.#fence);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw await failure(response, status, `${request.method} ${request.path}`);
  }

  #url(request: Request): URL {
    const base = this.#server.pathname.replace(/\/+$/, '');
    const url = new URL(`${base}${request.path}`, this.#server);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }
}

/** Sends one request and waits for the answer's head. The deadline and the signal hold until the answer's end. */
function respond(
  url: URL,
  options: https.RequestOptions,
  body: string | undefined,
  { deadlineMs, signal, method, path }: Request,
  fence: Fence | undefined,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const isWrite = method !== 'GET';
    const waitMs = isWrite ? Math.min(deadlineMs, fence?.remainingMs ?? deadlineMs) : deadlineMs;
    const obstacle = (): string | undefined => {
      if (signal.aborted) return 'stopped';
      return isWrite && fence !== undefined && fence.remainingMs <= 0 ? notLeading : undefined;
    };
    const found = obstacle();
    if (found !== undefined) {
      reject(new Error(`${method} ${path}: ${found}`));
      return;
    }
    const request = (url.protocol === 'http:' ? http : https).request(url, options);
    let isSent = false;
    let answered: http.IncomingMessage | undefined;
    const end = (reason: string): void => {
      const error = new Error(`${method} ${path}: ${reason}`);
      if (answered === undefined) request.destroy(error);
      else answered.destroy(error);
    };
    const timers = [setTimeout(() => end(`not done in ${Math.round(waitMs)} ms`), waitMs)];
    const onAbort = (): void => {
      if (isWrite && isSent) timers.push(setTimeout(() => end('stopped'), lastAnswerMs));
      else end('stopped');
    };
    signal.addEventListener('abort', onAbort, { once: true });
    request.once('close', () => {
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    });
    request.on('error', reject);
    request.once('response', (response) => {
      answered = response;
      resolve(response);
    });
    request.once('socket', (socket) =>
      whenConnected(socket, () => {
        const late = obstacle();
        if (late !== undefined) return end(late);
        isSent = true;
        request.end(body);
      }),
    );
  });
}

/** Calls back as soon as what is written to the socket goes out at once. */
function whenConnected(socket: Socket, then: () => void): void {
  if (socket instanceof TLSSocket) {
    if (socket.getFinished() === undefined) socket.once('secureConnect', then);
    else then();
  } else if (socket.connecting) socket.once('connect', then);
  else then();
}

async function failure(response: http.IncomingMessage, status: number, context: string): Promise<ApiError> {
  const body = await text(response);
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    // A proxy's or a dying server's answer: plain text.
    parsed = { message: body.slice(0, 200).trim() || `status ${status}` };
  }
  return ApiError.from(parsed, status, context, response.headers['retry-after']);
}

async function text(response: http.IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let all = '';
  for await (const chunk of response) all += String(chunk);
  return all;
}

function parseJson(body: string, context: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new Error(`${context}: the answer is no JSON: ${body.slice(0, 200)}`, { cause: error });
  }
}
