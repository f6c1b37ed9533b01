/**
 * The socket server: the Redis serialization protocol (RESP2 and RESP3) on a Unix socket.
 *
 * - `resp-parser.ts`, `inline-command.ts`, `resp-serializer.ts`, `entries-encoding.ts`: bytes to requests, replies to bytes; no I/O.
 * - `connection.ts`: order of replies, pipelining, when a connection is read.
 * - `limits.ts`, `request-budget.ts`, `reply-budget.ts`: every bound on memory (R5); `open-files.ts`: what the system allows.
 * - `commands.ts` and the files named `…-command(s).ts`: the command table, by subject.
 * - `socket-path.ts`: what may stand at the path before we listen.
 *
 * Order (the contract): replies keep request order. Appends of one connection are in flight together and are answered in
 * order; any other command is carried out after everything before it on its connection was answered.
 */
import { chmod } from 'node:fs/promises';
import { createServer as createNetServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { WalError } from '../errors.ts';
import type { Wal } from '../wal/wal.ts';
import { CollectionNames } from './append-command.ts';
import { ArgumentCache } from './argument-cache.ts';
import type { Assignments, ServerCounters, Session } from './command.ts';
import { Connection, type ConnectionContext } from './connection.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { limitsWithin, readOpenFilesMax } from './open-files.ts';
import { ReplyBudget } from './reply-budget.ts';
import { RequestBudget } from './request-budget.ts';
import { prepareSocketPath } from './socket-path.ts';

export interface SocketServerOptions {
  readonly wal: Wal;
  readonly assignments: Assignments;
  /** At most 107 bytes; the parent directory is made. */
  readonly socketPath: string;
  readonly logger: Logger;
  /** Of this program, for HELLO and INFO. */
  readonly version: string;
  readonly limits?: Limits;
}

/** How long `close` waits for replies and clients before it cuts the remaining connections off. */
const closeDeadlineMs = 20_000;

export class SocketServer {
  readonly #server: Server;
  readonly #context: ConnectionContext;
  readonly #connections = new Set<Connection>();
  /** Connections with something to write at the end of this turn. */
  #toFlush: Connection[] = [];
  #lastId = 0;
  #closing: Promise<void> | undefined;

  /** Use `createServer`. */
  constructor(options: SocketServerOptions) {
    const limits = options.limits ?? defaultLimits;
    this.#context = {
      ...options,
      limits,
      startedAtMs: Date.now(),
      counters: { connectionsReceived: 0, connectionsRejected: 0, commandsProcessed: 0, inputBytes: 0 },
      replies: new ReplyBudget(limits.replyBytes),
      budget: new RequestBudget(limits),
      names: new CollectionNames(),
      cache: new ArgumentCache(),
      sessions: () => this.#sessions(),
      scheduleFlush: (connection) => this.#scheduleFlush(connection),
    };
    // A client that ends its side still gets its replies.
    this.#server = createNetServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.on('error', (error) => options.logger.error({ err: error }, 'the socket server failed to accept'));
  }

  /** Connections now. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Bytes received and not answered, and replies not taken, over all connections. */
  get heldBytes(): number {
    return this.#context.budget.heldBytes + this.#context.replies.usedBytes;
  }

  /** Counters since the start. */
  get counters(): Readonly<ServerCounters> {
    return this.#context.counters;
  }

  async listen(): Promise<void> {
    const { socketPath } = this.#context;
    await prepareSocketPath(socketPath);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ path: socketPath, backlog: 511 }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    // The mount is the access control: whatever user the database runs as may connect.
    await chmod(socketPath, 0o666);
  }

  /**
   * Accepts no more connections and removes the socket file; what was received whole is carried out and answered, then
   * the connections end (E24). The log must work until this resolves. Connections still there after 20 s are cut off.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #close(): Promise<void> {
    return new Promise((resolve) => {
      const deadline = setTimeout(() => {
        this.#context.logger.warn({ connections: this.#connections.size }, 'connections cut off at shutdown');
        for (const connection of this.#connections) connection.destroy();
      }, closeDeadlineMs);
      this.#server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      for (const connection of this.#connections) connection.drain();
    });
  }

  *#sessions(): Generator<Session> {
    for (const connection of this.#connections) yield connection.session;
  }

  #accept(socket: Socket): void {
    const { limits, counters, logger } = this.#context;
    counters.connectionsReceived += 1;
    if (this.#connections.size >= limits.connections) {
      counters.connectionsRejected += 1;
      logger.warn({ connections: limits.connections }, 'connection refused: there are too many');
      refuse(socket, limits);
      return;
    }
    this.#lastId += 1;
    const session = newSession(this.#lastId);
    const connection = new Connection(socket, session, this.#context);
    this.#connections.add(connection);
    socket.on('close', () => this.#connections.delete(connection));
    if (this.#closing !== undefined) connection.drain();
  }

  #scheduleFlush(connection: Connection): void {
    // One write a connection for all callbacks of a commit: they come in one turn, the tick after it flushes.
    if (this.#toFlush.length === 0) process.nextTick(() => this.#flush());
    this.#toFlush.push(connection);
  }

  #flush(): void {
    const connections = this.#toFlush;
    this.#toFlush = [];
    for (const connection of connections) connection.flush();
  }
}

/** A server that listens. Rejects with an Error for people when the path cannot be used. */
export async function createServer(options: SocketServerOptions): Promise<SocketServer> {
  const limits = options.limits ?? limitsWithin(await readOpenFilesMax());
  if (options.limits === undefined && limits.connections < defaultLimits.connections) {
    const message = 'fewer connections are taken than could be: the limit of open files is low (ulimit -n)';
    options.logger.warn({ connections: limits.connections }, message);
  }
  const server = new SocketServer({ ...options, limits });
  await server.listen();
  return server;
}

function newSession(id: number): Session {
  return {
    id,
    connectedAtMs: Date.now(),
    protocol: 2,
    name: '',
    libraryName: '',
    libraryVersion: '',
    lastCommand: '',
    quitting: false,
  };
}

function refuse(socket: Socket, limits: Limits): void {
  const error = new WalError('BUSY', `there are ${limits.connections} connections already: close some, or share one`);
  socket.on('error', () => socket.destroy());
  socket.resume();
  socket.end(`-${error.code} ${error.message}\r\n`, () => socket.destroy());
}
