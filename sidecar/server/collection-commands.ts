/** Commands on one collection or all of them, but for appending and reading. */

import type { CollectionStatistics, Wal } from '../wal/wal.ts';
import { absent, collectionArgument, integerArgument, optionArguments } from './arguments.ts';
import type { Command, CommandContext } from './command.ts';
import { page } from './cursor.ts';
import type { Reply } from './resp-serializer.ts';

/** How many names a page holds unless COUNT says otherwise. As with SCAN, COUNT is a hint: more than the maximum is that. */
const pageCountDefault = 1000;
const pageCountMax = 10_000;

const pageOptions = { COUNT: { minimum: 1, maximum: Number.MAX_SAFE_INTEGER } } as const;

/** `[cursor] [COUNT n]` from the argument at `from` on. */
export function pageArguments(values: readonly Buffer[], from: number): { cursor: number; count: number } {
  // COUNT without a cursor starts at the beginning.
  const first = values[from];
  const hasCursor = first !== undefined && first.toString('latin1').toUpperCase() !== 'COUNT';
  const cursor = hasCursor ? integerArgument(first, 'cursor') : 0;
  const { COUNT } = optionArguments(values, hasCursor ? from + 1 : from, pageOptions);
  return { cursor, count: Math.min(COUNT ?? pageCountDefault, pageCountMax) };
}

function list(context: CommandContext, values: readonly Buffer[]): Reply {
  const { cursor, count } = pageArguments(values, 0);
  const names = page(context.server.wal.collections(), (name) => name, cursor, count);
  return [String(names.cursor), names.items];
}

function checkpoint(context: CommandContext, values: readonly Buffer[]): Promise<number> {
  const [collection = absent, sequence = absent] = values;
  return context.server.wal.checkpoint(collectionArgument(collection), integerArgument(sequence, 'seq'));
}

function optionalCollection(values: readonly Buffer[]): string | undefined {
  const [collection] = values;
  return collection === undefined ? undefined : collectionArgument(collection);
}

async function statistics(context: CommandContext, values: readonly Buffer[]): Promise<Reply> {
  const [collection = absent] = values;
  const { wal } = context.server;
  const found = wal.statistics(collectionArgument(collection));
  const lastAppendUs = found.lastAppendUs === 0 ? await lastTimestampUs(wal, found) : found.lastAppendUs;
  return new Map<string, Reply>([
    ['collection', found.collection],
    ['url', found.url],
    ['path', found.path],
    ['incarnation', found.incarnation],
    ['first_sequence', found.firstSequence],
    ['next_sequence', found.nextSequence],
    ['checkpoint', found.checkpoint],
    ['entries', found.entries],
    ['bytes', found.bytes],
    ['memory_bytes', found.memoryBytes],
    ['segments', found.segments],
    ['last_append_us', lastAppendUs],
  ]);
}

/** The last entry's time: before the first append since the start nothing else tells it. 0 if there is none to be read. */
async function lastTimestampUs(wal: Wal, { collection, entries, nextSequence }: CollectionStatistics): Promise<number> {
  if (entries === 0) return 0;
  // DAMAGED or UNAVAILABLE: the other figures are known all the same.
  const last = await wal.read(collection, nextSequence - 1, { count: 1, bytes: 1 }).catch(() => undefined);
  return last?.[0]?.timestampUs ?? 0;
}

export const collectionCommands: readonly Command[] = [
  {
    name: 'WAL.CHECKPOINT',
    usage: 'collection seq',
    summary: 'Entries up to seq are no longer needed; replies with the first sequence kept',
    minimum: 2,
    maximum: 2,
    takesCollection: true,
    writes: true,
    run: checkpoint,
  },
  {
    name: 'WAL.FLUSH',
    usage: '[collection]',
    summary: 'Writes unflushed entries to segments; replies with their number',
    minimum: 0,
    maximum: 1,
    takesCollection: true,
    writes: true,
    run: (context, values) => context.server.wal.flush(optionalCollection(values)),
  },
  {
    name: 'WAL.COMPACT',
    usage: '[collection]',
    summary: 'Merges segments; replies with the number removed',
    minimum: 0,
    maximum: 1,
    takesCollection: true,
    writes: true,
    run: (context, values) => context.server.wal.compact(optionalCollection(values)),
  },
  {
    name: 'WAL.STAT',
    usage: 'collection',
    summary: 'Shows where a collection lives and what it holds',
    minimum: 1,
    maximum: 1,
    takesCollection: true,
    writes: false,
    run: statistics,
  },
  {
    name: 'WAL.LIST',
    usage: '[cursor] [COUNT n]',
    summary: 'Lists collections, page by page as SCAN does',
    minimum: 0,
    maximum: 3,
    takesCollection: false,
    writes: false,
    run: list,
  },
  {
    name: 'WAL.DROP',
    usage: 'collection',
    summary: 'Removes a collection and its assignment; replies with the number of entries dropped',
    minimum: 1,
    maximum: 1,
    takesCollection: true,
    writes: true,
    run: (context, values) => context.server.wal.drop(collectionArgument(values[0] ?? absent)),
  },
];
