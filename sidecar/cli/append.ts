/** `walstorage append`: entries from the command line or from standard input; each is durable when its sequence is printed. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { connect, type SidecarConnection } from './connection.ts';
import { exitStatus, type Terminal } from './terminal.ts';

export interface AppendOptions {
  readonly collection: string;
  /** Undefined: each line of standard input is one. */
  readonly payload: string | undefined;
  readonly socket: string;
  readonly op: string;
  readonly key: string;
}

/** Lines that share an append: one round trip and one commit for all. */
const linesPerAppend = 100;

/** Prints the sequence of each append's last entry. Resolves with the exit status. */
export async function append(
  options: AppendOptions,
  input: NodeJS.ReadableStream,
  terminal: Terminal,
): Promise<number> {
  let connection: SidecarConnection | undefined;
  try {
    connection = await connect(options.socket);
    if (options.payload !== undefined) await send(connection, options, [options.payload], terminal);
    else await appendLines(connection, options, input, terminal);
    return exitStatus.fine;
  } catch (error) {
    terminal.stderr.write(`walstorage append: ${error instanceof Error ? error.message : String(error)}\n`);
    return exitStatus.wrong;
  } finally {
    connection?.close();
  }
}

async function appendLines(
  connection: SidecarConnection,
  options: AppendOptions,
  input: NodeJS.ReadableStream,
  terminal: Terminal,
): Promise<void> {
  const lines = createInterface({ input });
  const closed = once(lines, 'close');
  let batch: string[] = [];
  for await (const line of lines) {
    batch.push(line);
    if (batch.length < linesPerAppend) continue;
    await send(connection, options, batch, terminal);
    batch = [];
  }
  await closed;
  if (batch.length > 0) await send(connection, options, batch, terminal);
}

async function send(
  connection: SidecarConnection,
  { collection, op, key }: AppendOptions,
  payloads: readonly string[],
  { stdout }: Terminal,
): Promise<void> {
  const entries = payloads.flatMap((payload) => [op, key, payload]);
  const last = await connection.send(['WAL.APPEND', collection, '*', ...entries]);
  stdout.write(`${String(last)}\n`);
}
