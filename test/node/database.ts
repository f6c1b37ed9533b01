/**
 * The stand-in for ProximaDB on a real node: it appends through the sidecar, writes down on a volume of its own what was
 * acknowledged, and after every start and every lost connection replays all of it and compares.
 *
 *     append with next-seq ──► reply ──► ledger, synced ──► counted as acknowledged
 *     replay: every sequence up to the ledger's must be there, once, with the payload that its collection and sequence make
 *
 * Environment: PROXIMADB_WAL_SOCKET; LEDGER_DIR; COLLECTIONS (11); ROUNDS: with it, it appends so often to each collection and
 * ends, as a job does, with 1 if anything acknowledged earlier was gone. Without it goes on until SIGTERM, appends once more to each, and ends with 0. It prints a JSON line an event, and
 * serves its state over HTTP on the port of ProximaDB's REST API, so that the example's probe is answered.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { asEntries, ErrorReply, type ReadEntry, RespClient, Unanswered } from '../resp-client.ts';

const socket = required('PROXIMADB_WAL_SOCKET');
const ledgerFile = join(required('LEDGER_DIR'), 'ledger');
/** There while no process is running that should have removed it. */
const endFile = join(required('LEDGER_DIR'), 'ended');
const collectionCount = Number(process.env['COLLECTIONS'] ?? 11);
const roundsMax = Number(process.env['ROUNDS'] ?? Number.POSITIVE_INFINITY);
const payloadBytes = 512;
const roundMs = 100;
const retryMs = 50;
const statusPort = 5678;
const pageEntries = 1000;

/** What a test reads. */
export interface State {
  /** Entries whose acknowledgement stands in the ledger. */
  acknowledged: number;
  /** Entries that the last replay found as they were acknowledged. */
  verified: number;
  /** Acknowledged entries that a replay did not find, or not as they were: any is a failure. */
  lost: number;
  /** Entries at a sequence that has another's payload: any is a failure. */
  doubled: number;
  replays: number;
  /** Whether the first connection of this process was accepted at once. */
  readyAtStart: boolean;
  /** Whether the process before this one ended in order: by SIGTERM, its last append acknowledged. */
  endedInOrder: boolean;
  appending: boolean;
  /** The error that the last refused append got. */
  refused: string | undefined;
}

const state: State = {
  acknowledged: 0,
  verified: 0,
  lost: 0,
  doubled: 0,
  replays: 0,
  readyAtStart: false,
  endedInOrder: false,
  appending: false,
  refused: undefined,
};

/** The highest acknowledged sequence of each collection. */
const acknowledged = new Map<string, number>();
let stopping = false;

await main();

async function main(): Promise<void> {
  process.once('SIGTERM', () => {
    stopping = true;
  });
  const server = createServer((_request, response) => response.end(JSON.stringify(state))).listen(statusPort);
  const ledger = await openLedger();
  state.endedInOrder = await unlink(endFile).then(
    () => true,
    () => false,
  );
  let client = await RespClient.connect(socket).catch(() => undefined);
  state.readyAtStart = client !== undefined;
  for (let round = 0; round < roundsMax; ) {
    try {
      client ??= await RespClient.connect(socket);
      if (!state.appending) await replay(client);
      const isLast = stopping;
      await appendToEach(client, ledger);
      round += 1;
      if (isLast) break;
      await setTimeout(roundMs);
    } catch (error) {
      state.appending = false;
      client = await leave(client, error);
    }
  }
  await writeFile(endFile, '');
  report('ended');
  await ledger.close();
  server.close();
  server.closeAllConnections();
  await client?.close();
  process.exitCode = state.lost + state.doubled > 0 ? 1 : 0;
}

/** After an error that a retry may heal: another connection, then a replay. Others end the process. */
async function leave(client: RespClient | undefined, error: unknown): Promise<undefined> {
  if (error instanceof ErrorReply) state.refused = error.message;
  else if (!(error instanceof Unanswered) && !isConnectionError(error)) throw error;
  report('disconnected', String(error));
  await client?.close();
  await setTimeout(retryMs);
}

function isConnectionError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(String(error.code))
  );
}

/** Reads what is acknowledged; what a crash left half written at the end was not counted. */
async function openLedger(): Promise<FileHandle> {
  const text = await readFile(ledgerFile, 'utf8').catch(() => '');
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    const [collection, sequence] = line.split(' ');
    if (collection !== undefined && sequence !== undefined) acknowledged.set(collection, Number(sequence));
  }
  return open(ledgerFile, 'a');
}

/** One entry to each collection, all at once. Those that were acknowledged are written down before they count. */
async function appendToEach(client: RespClient, ledger: FileHandle): Promise<void> {
  const names = Array.from({ length: collectionCount }, (_, index) => `collection-${index + 1}`);
  const replies = await Promise.allSettled(
    names.map((name) => append(client, name, (acknowledged.get(name) ?? 0) + 1)),
  );
  const done = names.filter((_, index) => replies[index]?.status === 'fulfilled');
  const lines = done.map((name) => `${name} ${(acknowledged.get(name) ?? 0) + 1}\n`);
  await ledger.write(lines.join(''));
  await ledger.datasync();
  for (const name of done) acknowledged.set(name, (acknowledged.get(name) ?? 0) + 1);
  count();
  const failed = replies.find((reply) => reply.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  state.refused = undefined;
}

/** Appends the entry of that sequence; a CONFLICT that names the next one tells that it is there: only the reply had been lost. */
async function append(client: RespClient, collection: string, sequence: number): Promise<void> {
  const payload = payloadOf(collection, sequence);
  try {
    await client.send('WAL.APPEND', collection, sequence, 'INSERT', String(sequence), payload);
  } catch (error) {
    if (!(error instanceof ErrorReply) || error.message !== `CONFLICT ${sequence + 1}`) throw error;
  }
}

async function replay(client: RespClient): Promise<void> {
  let verified = 0;
  for (const [collection, last] of acknowledged) verified += await compare(client, collection, last);
  state.verified = verified;
  state.replays += 1;
  state.appending = true;
  count();
  report('replayed');
}

/** Reads a collection from its first entry. Resolves with how many of the acknowledged entries are as they were. */
async function compare(client: RespClient, collection: string, last: number): Promise<number> {
  let verified = 0;
  for (let next = 1; ; ) {
    const page = await read(client, collection, next);
    for (const { sequence, key, payload } of page) {
      if (!payload.equals(payloadOf(collection, sequence))) {
        if (key === String(sequence)) state.lost += 1;
        else state.doubled += 1;
      } else if (sequence <= last) verified += 1;
    }
    const end = page.at(-1);
    if (end === undefined) break;
    next = end.sequence + 1;
  }
  if (verified < last) {
    state.lost += last - verified;
    report('lost', `${collection}: ${last} were acknowledged, ${verified} are there`);
  }
  return verified;
}

async function read(client: RespClient, collection: string, from: number): Promise<ReadEntry[]> {
  try {
    return asEntries(await client.send('WAL.READ', collection, from, 'COUNT', pageEntries));
  } catch (error) {
    if (error instanceof ErrorReply && error.code === 'NOTFOUND') return [];
    throw error;
  }
}

/** What the entry of a sequence holds: the same in every process. */
function payloadOf(collection: string, sequence: number): Buffer {
  const seed = createHash('sha256').update(`${collection}/${sequence}`).digest();
  return Buffer.alloc(payloadBytes, seed);
}

function count(): void {
  state.acknowledged = [...acknowledged.values()].reduce((sum, last) => sum + last, 0);
}

function report(event: string, detail?: string): void {
  process.stdout.write(`${JSON.stringify({ event, detail, time: new Date().toISOString(), ...state })}\n`);
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} must be set`);
  return value;
}
