/**
 * The one request that a sidecar sends to Kubernetes: its own entry of the status, by server-side apply. Plain HTTPS: the
 * client library costs 100 MB (O10). Token and authority are read again for each request, since they are renewed on disk.
 */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { isJsonObject, parseJsonObject } from '../assignment/json-object.ts';
import type { PodIdentity } from './pod-status.ts';

const defaultTokenDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';
const requestTimeoutMs = 10_000;
/** Larger than any object that the API server stores. */
const answerBytesMax = 4 * 1024 * 1024;

export interface ApiServer {
  readonly host: string;
  readonly port: number;
  /** Holds `token` and `ca.crt`. */
  readonly tokenDirectory: string;
}

export interface PublisherSettings {
  readonly identity: PodIdentity;
  readonly server: ApiServer;
}

/** A request that the API server refused, or that did not reach it. */
export class PublishError extends Error {
  override readonly name = 'PublishError';
  /** What the server asked to wait; 0 if nothing. */
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs = 0, options?: ErrorOptions) {
    super(message, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Who publishes where (interfaces, section 1); undefined outside a pod that publishes. */
export function publisherSettings(environment: NodeJS.ProcessEnv): PublisherSettings | undefined {
  const { WALSTORAGE_NAME: storageName, POD_NAME: podName, POD_NAMESPACE: namespace, POD_UID: podUid } = environment;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (!storageName || !podName || !namespace || !podUid || !host) return undefined;
  const tokenDirectory = environment['WALSTORAGE_TOKEN_DIR'] || defaultTokenDirectory;
  const server = { host, port: Number(port || '443'), tokenDirectory };
  return { identity: { storageName, podName, namespace, podUid }, server };
}

/**
 * Applies the body to the WalStorage's status as manager `pod-<uid>`. Returns how many pods share the object, as its
 * answer says; undefined where it doesn't. PublishError says what went wrong.
 */
export async function applyStatus({ server, identity }: PublisherSettings, body: string): Promise<number | undefined> {
  const { host, port, tokenDirectory } = server;
  const [token, ca] = await Promise.all([
    readFile(join(tokenDirectory, 'token'), 'utf8'),
    readFile(join(tokenDirectory, 'ca.crt')),
  ]);
  const headers = {
    authorization: `Bearer ${token.trim()}`,
    'content-type': 'application/apply-patch+yaml',
    'content-length': Buffer.byteLength(body),
    accept: 'application/json',
  };
  const signal = AbortSignal.timeout(requestTimeoutMs);
  const options = { host, port, ca, headers, signal, method: 'PATCH', path: pathOf(identity), agent: false };
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(options, resolve).on('error', reject).end(body);
  return await readAnswer(await promise);
}

function pathOf({ namespace, storageName, podUid }: PodIdentity): string {
  const object = `namespaces/${encodeURIComponent(namespace)}/walstorages/${encodeURIComponent(storageName)}`;
  const query = `fieldManager=${encodeURIComponent(`pod-${podUid}`)}&force=true`;
  return `/apis/wal.proximadb.io/v1alpha1/${object}/status?${query}`;
}

async function readAnswer(answer: IncomingMessage): Promise<number | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > answerBytesMax) throw new PublishError(`the API server's answer is over ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  const object = parseJsonObject(Buffer.concat(chunks)) ?? {};
  const { statusCode = 0, headers } = answer;
  if (statusCode < 300) return podCountOf(object['status']);
  const message = typeof object['message'] === 'string' ? object['message'] : 'no reason given';
  const retryAfterSeconds = Number(headers['retry-after'] ?? 0);
  throw new PublishError(`the API server answered ${statusCode}: ${message}`, (retryAfterSeconds || 0) * 1000);
}

/** The operator counts the pods; until it does, those that have reported are what is known. */
function podCountOf(status: unknown): number | undefined {
  if (!isJsonObject(status)) return undefined;
  const counted = typeof status['podCount'] === 'number' ? status['podCount'] : 0;
  const reported = Array.isArray(status['pods']) ? status['pods'].length : 0;
  return Math.max(counted, reported);
}
