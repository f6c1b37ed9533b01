/** WAL.READ and WAL.EXPORT: large replies, leased from the reply budget while they are read and until they are written. */
import { absent, collectionArgument, integerArgument, optionArguments } from './arguments.ts';
import type { Command, CommandContext } from './command.ts';
import { encodeEntries } from './entries-encoding.ts';
import type { Lease } from './reply-budget.ts';
import { Encoded, type Reply } from './resp-serializer.ts';

const mebibyte = 1024 * 1024;
const readCountDefault = 1000;
const readCountMax = 100_000;
const readBytesDefault = 16 * mebibyte;
const exportBytesDefault = 64 * mebibyte;
const bytesMax = 256 * mebibyte;
/** The longest that a timer of the system takes, 24.8 days; 0 waits for ever. */
const blockMsMax = 2 ** 31 - 1;
/** What one entry costs besides its bytes while it is read: its objects. */
const entryOverheadBytes = 512;

const readOptions = {
  COUNT: { minimum: 1, maximum: readCountMax },
  BYTES: { minimum: 1, maximum: bytesMax },
  BLOCK: { minimum: 0, maximum: blockMsMax },
} as const;

const exportOptions = { BYTES: { minimum: 1, maximum: bytesMax } } as const;

interface ReadRequest {
  readonly collection: string;
  readonly from: number;
  readonly count: number;
  readonly bytes: number;
}

async function read(context: CommandContext, values: readonly Buffer[]): Promise<Reply> {
  const [collectionBytes = absent, fromBytes = absent] = values;
  const collection = collectionArgument(collectionBytes);
  const from = integerArgument(fromBytes, 'from-seq');
  const { COUNT, BYTES, BLOCK } = optionArguments(values, 2, readOptions);
  const request = { collection, from, count: COUNT ?? readCountDefault, bytes: BYTES ?? readBytesDefault };
  const found = await readNow(context, request, BLOCK === undefined);
  if (found !== undefined || BLOCK === undefined) return found ?? [];
  // Waiting takes no share of the reply budget: it is for one entry only, and what there is then is read anew.
  const woken = await context.waiting(async (signal) => {
    const entries = await context.server.wal.read(collection, from, { count: 1, bytes: 1, blockMs: BLOCK, signal });
    if (entries === undefined) signal.throwIfAborted();
    return entries;
  });
  if (woken === undefined || woken.length === 0) return null;
  return (await readNow(context, request, true)) ?? [];
}

/** What there is now; undefined where that is nothing and `emptyToo` is false. */
async function readNow(context: CommandContext, request: ReadRequest, emptyToo: boolean): Promise<Reply | undefined> {
  const { collection, from, count, bytes } = request;
  const lease = await leaseOf(context, bytes + count * entryOverheadBytes);
  try {
    const entries = (await context.server.wal.read(collection, from, { count, bytes })) ?? [];
    return entries.length === 0 && !emptyToo ? released(lease) : encoded(encodeEntries(entries), lease);
  } catch (error) {
    lease.release();
    throw error;
  }
}

async function leaseOf(context: CommandContext, bytes: number): Promise<Lease> {
  const { replies } = context.server;
  return replies.take(bytes) ?? (await context.waiting((signal) => replies.wait(bytes, signal)));
}

function released(lease: Lease): undefined {
  lease.release();
  return undefined;
}

/** A reply that holds its share of the budget until it is written. */
function encoded(parts: readonly Buffer[], lease: Lease): Encoded {
  lease.resize(parts.reduce((sum, part) => sum + part.length, 0));
  return new Encoded(parts, lease.release);
}

async function exportEntries(context: CommandContext, values: readonly Buffer[]): Promise<Reply> {
  const [collectionBytes = absent, fromBytes = absent] = values;
  const collection = collectionArgument(collectionBytes);
  const from = integerArgument(fromBytes, 'from-seq');
  const bytes = optionArguments(values, 2, exportOptions).BYTES ?? exportBytesDefault;
  const lease = await leaseOf(context, bytes);
  try {
    const file = await context.server.wal.export(collection, from, bytes);
    return encoded([Buffer.from(`$${file.length}\r\n`), file, Buffer.from('\r\n')], lease);
  } catch (error) {
    lease.release();
    throw error;
  }
}

export const readCommands: readonly Command[] = [
  {
    name: 'WAL.READ',
    usage: 'collection from-seq [COUNT n] [BYTES n] [BLOCK ms]',
    summary: 'Reads entries in order; BLOCK waits for one at or above from-seq',
    minimum: 2,
    maximum: 8,
    takesCollection: true,
    writes: false,
    run: read,
  },
  {
    name: 'WAL.EXPORT',
    usage: 'collection from-seq [BYTES n]',
    summary: 'Reads entries as an Avro object container file',
    minimum: 2,
    maximum: 4,
    takesCollection: true,
    writes: false,
    run: exportEntries,
  },
];
