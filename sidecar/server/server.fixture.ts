/**
 * For the tests of this folder: a log in a Map that answers at once or when told to, and a client that shows replies
 * byte by byte. The real log is tested with real clients in `test/clients.test.ts`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Assignment, Component } from '../assignment/assignment.ts';
import { WalError } from '../errors.ts';
import type { AppendDone, CollectionStatistics, ReadOptions, Wal, WalEntry } from '../wal/wal.ts';
import type { Assignments } from './command.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { createServer, type SocketServer } from './server.ts';

interface MapCollection {
  nextSequence: number;
  checkpoint: number;
  readonly entries: WalEntry[];
}

/** A log in memory. While `held` is an array, appends are answered only when the test calls what is pushed there. */
export class MapWal implements Wal {
  readonly #collections = new Map<string, MapCollection>();
  readonly #waiters = new Set<() => void>();
  held: (() => void)[] | undefined;
  /** Reads that wait for an entry. */
  get waiterCount(): number {
    return this.#waiters.size;
  }

  append(name: string, nextSequence: number | undefined, fields: readonly Buffer[], done: AppendDone): void {
    const collection = this.#collections.get(name) ?? { nextSequence: 1, checkpoint: 0, entries: [] };
    this.#collections.set(name, collection);
    if (nextSequence !== undefined && nextSequence !== collection.nextSequence) {
      const error = new WalError('CONFLICT', String(collection.nextSequence));
      this.#answer(() => done(error, 0));
      return;
    }
    for (let at = 0; at < fields.length; at += 3) {
      const [operation, key, payload] = fields.slice(at, at + 3).map((field) => Buffer.from(field));
      if (operation === undefined || key === undefined || payload === undefined) throw new Error('incomplete entry');
      collection.entries.push({ sequence: collection.nextSequence, timestampUs: 1_000_000, operation, key, payload });
      collection.nextSequence += 1;
    }
    const last = collection.nextSequence - 1;
    for (const wake of this.#waiters) wake();
    this.#answer(() => done(undefined, last));
  }

  #answer(answer: () => void): void {
    if (this.held === undefined) answer();
    else this.held.push(answer);
  }

  async read(name: string, from: number, options: ReadOptions): Promise<WalEntry[] | undefined> {
    for (;;) {
      const collection = this.#find(name);
      if (from > 0 && from <= collection.checkpoint) throw new WalError('TRIMMED', `${from}: the checkpoint is higher`);
      const found = collection.entries.filter((entry) => entry.sequence >= from).slice(0, options.count);
      if (found.length > 0 || options.blockMs === undefined) return found;
      if (!(await this.#woken(options))) return undefined;
    }
  }

  /** False on time-out or abort. */
  #woken(options: ReadOptions): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (woken: boolean): void => {
        clearTimeout(timer);
        this.#waiters.delete(wake);
        options.signal?.removeEventListener('abort', abort);
        resolve(woken);
      };
      const wake = (): void => end(true);
      const abort = (): void => end(false);
      const timer = options.blockMs ? setTimeout(abort, options.blockMs) : undefined;
      this.#waiters.add(wake);
      options.signal?.addEventListener('abort', abort);
    });
  }

  export(name: string, from: number): Promise<Buffer> {
    const entries = this.#find(name).entries.filter((entry) => entry.sequence >= from);
    return Promise.resolve(Buffer.concat([Buffer.from('Obj\x01'), ...entries.map((entry) => entry.payload)]));
  }

  checkpoint(name: string, sequence: number): Promise<number> {
    const collection = this.#find(name);
    collection.checkpoint = Math.max(collection.checkpoint, sequence);
    return Promise.resolve(collection.checkpoint + 1);
  }

  flush(name: string | undefined): Promise<number> {
    return Promise.resolve(name === undefined ? 0 : this.#find(name).entries.length);
  }

  compact(): Promise<number> {
    return Promise.resolve(0);
  }

  async drop(name: string): Promise<number> {
    const count = this.#find(name).entries.length;
    this.#collections.delete(name);
    for (const wake of this.#waiters) wake();
    return count;
  }

  statistics(name: string): CollectionStatistics {
    const { checkpoint, nextSequence, entries } = this.#find(name);
    return {
      collection: name,
      url: 'file:///d1',
      path: `file:///d1/${name}`,
      incarnation: '0'.repeat(32),
      firstSequence: checkpoint + 1,
      nextSequence,
      checkpoint,
      entries: entries.length,
      bytes: entries.reduce((sum, entry) => sum + entry.payload.length, 0),
      memoryBytes: 0,
      segments: 0,
      lastAppendUs: 1_000_000,
    };
  }

  collections(): IterableIterator<string> {
    return this.#collections.keys();
  }

  #find(name: string): MapCollection {
    const found = this.#collections.get(name);
    if (found === undefined) throw new WalError('NOTFOUND', `there is no collection ${name}`);
    return found;
  }
}

/** Assignments in memory, all to one URL. */
export class MapAssignments implements Assignments {
  readonly #assignments = new Map<string, Assignment>();

  assign(component: Component, collection: string): Promise<Assignment> {
    const url = `file:///${component}`;
    const made: Assignment = {
      component,
      collection,
      url,
      path: `${url}/${collection}`,
      index: 0,
      assignedAt: '2026-01-01T00:00:00.000Z',
      incarnation: '0'.repeat(32),
    };
    const found = this.get(component, collection) ?? made;
    this.#assignments.set(`${component} ${collection}`, found);
    return Promise.resolve(found);
  }

  get(component: Component, collection: string): Assignment | undefined {
    return this.#assignments.get(`${component} ${collection}`);
  }

  remove(component: Component, collection: string): Promise<boolean> {
    return Promise.resolve(this.#assignments.delete(`${component} ${collection}`));
  }

  *list(component: Component): Iterable<Assignment> {
    for (const assignment of this.#assignments.values()) if (assignment.component === component) yield assignment;
  }
}

export interface TestServer {
  readonly server: SocketServer;
  readonly wal: MapWal;
  readonly socketPath: string;
  readonly connect: () => Promise<RawClient>;
  /** Ends clients and server, removes the directory. */
  readonly end: () => Promise<void>;
}

/** A server over a MapWal on a socket in a directory of its own. */
export async function startTestServer(limits: Partial<Limits> = {}): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-server-'));
  const socketPath = join(directory, 'wal.sock');
  const wal = new MapWal();
  const server = await createServer({
    wal,
    assignments: new MapAssignments(),
    socketPath,
    logger: pino({ level: 'silent' }),
    version: '0.0.0-test',
    limits: { ...defaultLimits, ...limits },
  });
  const clients: RawClient[] = [];
  return {
    server,
    wal,
    socketPath,
    connect: async () => {
      const client = await RawClient.connect(socketPath);
      clients.push(client);
      return client;
    },
    end: async () => {
      for (const client of clients) client.destroy();
      await server.close();
      await rm(directory, { recursive: true });
    },
  };
}

/** A client that sends bytes and collects bytes. */
export class RawClient {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #receivedBytes = 0;
  ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#receivedBytes += chunk.length;
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('close', () => {
      this.ended = true;
    });
    socket.on('error', () => {
      this.ended = true;
    });
  }

  static connect(path: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path, allowHalfOpen: true }, () => resolve(new RawClient(socket)));
      socket.once('error', reject);
    });
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** All that came so far, as latin1. */
  get text(): string {
    const all = Buffer.concat(this.#received);
    this.#received = [all];
    return all.toString('latin1');
  }

  send(...requests: readonly (readonly (string | Buffer)[])[]): void {
    this.socket.write(Buffer.concat(requests.map((request) => encodeRequest(request))));
  }

  /** Waits until all that came equals `expected`, then forgets it. */
  async expect(expected: string): Promise<void> {
    await until(() => this.#receivedBytes >= expected.length || this.ended, `the reply ${JSON.stringify(expected)}`);
    const text = this.take();
    if (text !== expected) throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(text)}`);
  }

  /** Waits until something that ends a line came, hands it out and forgets it. */
  async line(): Promise<string> {
    await until(() => (this.#receivedBytes > 0 && this.text.endsWith('\r\n')) || this.ended, 'a line');
    return this.take();
  }

  take(): string {
    const text = this.text;
    this.#received = [];
    this.#receivedBytes = 0;
    return text;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** A request as an array of bulk strings. */
export function encodeRequest(request: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${request.length}\r\n`)];
  for (const argument of request) {
    const bytes = Buffer.from(argument);
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** Resolves when the condition holds; rejects after 10 s. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`10 s passed without ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 1);
    });
  }
}
