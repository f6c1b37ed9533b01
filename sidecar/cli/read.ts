/** `walstorage read` and `tail`: a collection's entries, one a line. */
import { connect, type SidecarConnection } from './connection.ts';
import { exitStatus, type OutputForm, type Terminal } from './terminal.ts';

export interface ReadOptions {
  readonly collection: string;
  readonly socket: string;
  /** Undefined: the first kept; following, behind the last one. */
  readonly from?: number;
  /** Undefined: all there are; following, without end. */
  readonly count?: number;
  readonly follow: boolean;
  readonly output: OutputForm;
}

const entriesPerRead = 1000;

/** Prints the entries. Resolves with the exit status; following, when the connection ends or `count` is reached. */
export async function read(options: ReadOptions, terminal: Terminal): Promise<number> {
  let connection: SidecarConnection | undefined;
  try {
    connection = await connect(options.socket);
    await printEntries(connection, options, terminal);
    return exitStatus.fine;
  } catch (error) {
    const command = options.follow ? 'tail' : 'read';
    terminal.stderr.write(`walstorage ${command}: ${error instanceof Error ? error.message : String(error)}\n`);
    return exitStatus.wrong;
  } finally {
    connection?.close();
  }
}

/** An entry as `WAL.READ` gives it: sequence, timestamp in µs, operation, key, payload. */
type Entry = readonly [number, number, Buffer, Buffer, Buffer];

async function printEntries(connection: SidecarConnection, options: ReadOptions, terminal: Terminal): Promise<void> {
  const { collection, follow, output } = options;
  let from = options.from ?? (follow ? await nextSequence(connection, collection) : 0);
  let left = options.count ?? Number.POSITIVE_INFINITY;
  while (left > 0) {
    const command = ['WAL.READ', collection, String(from), 'COUNT', String(Math.min(left, entriesPerRead))];
    const reply = await connection.send(follow ? [...command, 'BLOCK', '0'] : command);
    const entries = entriesOf(reply);
    if (entries.length === 0) return;
    for (const entry of entries) terminal.stdout.write(`${output === 'json' ? asJson(entry) : asText(entry)}\n`);
    from = (entries.at(-1)?.[0] ?? from) + 1;
    left -= entries.length;
  }
}

async function nextSequence(connection: SidecarConnection, collection: string): Promise<number> {
  const reply = await connection.send(['WAL.STAT', collection]);
  const statistics = reply instanceof Map ? reply : new Map(Object.entries(Object(reply)));
  for (const [key, value] of statistics) if (String(key) === 'next_sequence') return Number(value);
  throw new Error(`the sidecar says nothing of the next sequence of ${collection}`);
}

function entriesOf(reply: unknown): Entry[] {
  return Array.isArray(reply) ? reply : [];
}

function asText([sequence, timestampUs, operation, key, payload]: Entry): string {
  const time = new Date(timestampUs / 1000).toISOString();
  return `${sequence}\t${time}\t${operation.toString()}\t${printable(key)}\t${printable(payload)}`;
}

function asJson([sequence, timestamp_us, operation, key, payload]: Entry): string {
  const text = isText(payload) ? { payload: payload.toString() } : { payload_base64: payload.toString('base64') };
  return JSON.stringify({ sequence, timestamp_us, operation: operation.toString(), key: key.toString(), ...text });
}

/** Text as it is, but for control characters, which could change what the terminal shows; other bytes as hex. */
function printable(bytes: Buffer): string {
  if (!isText(bytes)) return `0x${bytes.toString('hex')}`;
  return bytes.toString().replace(/[\p{Cc}]/gu, (character) => JSON.stringify(character).slice(1, -1));
}

function isText(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString()).equals(bytes);
}
