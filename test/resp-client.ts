/**
 * A RESP2 client for tests that must know which request was answered when the connection ended: requests leave in the order of
 * the calls, without waiting for replies.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** Bulk strings come as Buffers, simple strings as strings, nil as undefined. */
export type Reply = string | number | Buffer | undefined | readonly Reply[];

/** The server answered with an error. */
export class ErrorReply extends Error {
  override readonly name = 'ErrorReply';
  /** The first word. */
  readonly code: string;

  constructor(message: string) {
    super(message);
    this.code = message.split(' ', 1)[0] ?? '';
  }
}

/** The connection ended before the reply came. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered';
}

interface Waiter {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

export class RespClient {
  readonly #socket: Socket;
  readonly #waiters: Waiter[] = [];
  #buffer: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#end());
  }

  static async connect(path: string): Promise<RespClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new RespClient(socket);
  }

  /** Requests sent and not answered yet. */
  get unanswered(): number {
    return this.#waiters.length;
  }

  /** Resolves with the reply; rejects with ErrorReply, or with Unanswered when the connection ends before it. */
  async send(...request: readonly (string | number | Buffer)[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Unanswered());
        return;
      }
      this.#waiters.push({ resolve, reject });
      this.#socket.write(encodeRequest(request));
    });
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    this.#socket.destroy();
    await once(this.#socket, 'close');
  }

  #take(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    let at = 0;
    for (let parsed = parseReply(this.#buffer, at); parsed !== undefined; parsed = parseReply(this.#buffer, at)) {
      at = parsed.end;
      const waiter = this.#waiters.shift();
      if (parsed.value instanceof ErrorReply) waiter?.reject(parsed.value);
      else waiter?.resolve(parsed.value);
    }
    this.#buffer = this.#buffer.subarray(at);
  }

  #end(): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Unanswered());
  }
}

/** A request's bytes: an array of bulk strings. */
function encodeRequest(request: readonly (string | number | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${request.length}\r\n`)];
  for (const argument of request) {
    const bytes = Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

interface Parsed {
  readonly value: Reply | ErrorReply;
  readonly end: number;
}

/** The reply that begins at `at`, or undefined if it isn't there in full. */
export function parseReply(buffer: Buffer, at: number): Parsed | undefined {
  const lineEnd = buffer.indexOf('\r\n', at);
  if (lineEnd < 0) return undefined;
  const type = buffer.toString('latin1', at, at + 1);
  const text = buffer.toString('utf8', at + 1, lineEnd);
  const end = lineEnd + 2;
  if (type === '+') return { value: text, end };
  if (type === '-') return { value: new ErrorReply(text), end };
  if (type === ':') return { value: Number(text), end };
  const length = Number(text);
  if (type === '$') return parseBulk(buffer, end, length);
  if (type === '*') return parseArray(buffer, end, length);
  throw new Error(`no RESP2 reply begins with ${JSON.stringify(type)}`);
}

function parseBulk(buffer: Buffer, from: number, length: number): Parsed | undefined {
  if (length < 0) return { value: undefined, end: from };
  const end = from + length + 2;
  return end <= buffer.length ? { value: buffer.subarray(from, from + length), end } : undefined;
}

function parseArray(buffer: Buffer, from: number, length: number): Parsed | undefined {
  if (length < 0) return { value: undefined, end: from };
  const values: Reply[] = [];
  let at = from;
  for (let left = length; left > 0; left--) {
    const parsed = parseReply(buffer, at);
    if (parsed === undefined) return undefined;
    if (parsed.value instanceof ErrorReply) throw new Error(`an error stands in an array: ${parsed.value.message}`);
    values.push(parsed.value);
    at = parsed.end;
  }
  return { value: values, end: at };
}

/** A map of a RESP2 reply (a flat array), its values as text or numbers. */
export function asMap(reply: Reply): Map<string, string> {
  if (!Array.isArray(reply)) throw new Error(`a flat array was expected, not ${String(reply)}`);
  const map = new Map<string, string>();
  for (let at = 0; at < reply.length; at += 2) map.set(String(reply[at]), String(reply[at + 1]));
  return map;
}

/** An entry as `WAL.READ` gives it. */
export interface ReadEntry {
  readonly sequence: number;
  readonly timestampUs: number;
  readonly operation: string;
  readonly key: string;
  readonly payload: Buffer;
}

/** All entries from `from` on, page by page. */
export async function readAll(client: RespClient, collection: string, from = 0): Promise<ReadEntry[]> {
  const entries: ReadEntry[] = [];
  for (let next = from; ; ) {
    const page = asEntries(await client.send('WAL.READ', collection, next, 'COUNT', 1000));
    const last = page.at(-1);
    if (last === undefined) return entries;
    entries.push(...page);
    next = last.sequence + 1;
  }
}

/** The reply of `WAL.READ` as entries. */
export function asEntries(reply: Reply): ReadEntry[] {
  if (!Array.isArray(reply)) throw new Error(`entries were expected, not ${String(reply)}`);
  return reply.map((entry: Reply) => {
    if (!Array.isArray(entry)) throw new Error(`an entry was expected, not ${String(entry)}`);
    const [sequence, timestampUs, operation, key, payload]: readonly Reply[] = entry;
    if (!Buffer.isBuffer(payload)) throw new Error(`entry ${String(sequence)} has no payload`);
    return {
      sequence: Number(sequence),
      timestampUs: Number(timestampUs),
      operation: String(operation),
      key: String(key),
      payload,
    };
  });
}
