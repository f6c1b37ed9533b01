/** HTTP on HOST:PORT, and its end. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { systemCode } from '../errors.ts';

/** Health probes, a scraper and a few people; more wait in the system's queue or are refused. */
const connectionsMax = 256;
/**
 * How long a request may take to come, its head and all of it: else whoever opens all connections and says nothing would keep
 * the probes out, and a probe that fails has the pod restarted.
 */
const headersTimeoutMs = 3_000;
const requestTimeoutMs = 10_000;
const timeoutCheckMs = 500;

/**
 * A server listening on `address`: HOST:PORT or [IPv6]:PORT, port 0 for a free one. Errors say what to change.
 */
export async function listen(address: string, app: RequestListener): Promise<Server> {
  const timeouts = { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs };
  const server = createServer({ ...timeouts, connectionsCheckingInterval: timeoutCheckMs }, app);
  server.maxConnections = connectionsMax;
  // The same for answers that nobody takes.
  server.timeout = requestTimeoutMs;
  await bind(server, address, 'the HTTP address');
  return server;
}

/** Has a server listen on `address`, as `listen` takes it; `what` names the address in errors. */
export async function bind(server: Server | HttpsServer, address: string, what: string): Promise<void> {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address);
  const port = Number(parts?.[3]);
  if (parts === null || port > 65_535) {
    throw new Error(`${what} ${JSON.stringify(address)} is not HOST:PORT, for example 127.0.0.1:9464`);
  }
  const host = parts[1] ?? parts[2] ?? '';
  try {
    server.listen({ port, host: host === '' ? undefined : host });
    await once(server, 'listening');
  } catch (error) {
    const reason =
      systemCode(error) === 'EADDRINUSE' ? 'is taken: end who listens there, or choose another' : String(error);
    throw new Error(`${what} ${address} ${reason}`, { cause: error });
  }
}

/** HOST:PORT as the server really listens. */
export function addressOf(server: Server | HttpsServer): string {
  const found = server.address();
  if (found === null || typeof found === 'string') throw new Error('the HTTP server does not listen on a port');
  return `${found.family === 'IPv6' ? `[${found.address}]` : found.address}:${found.port}`;
}

/** Ends the server, and the connections that are left. */
export async function closeServer(server: Server | HttpsServer): Promise<void> {
  if (!server.listening) return;
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}
