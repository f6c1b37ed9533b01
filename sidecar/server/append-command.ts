/** `WAL.APPEND collection <*|next-seq> op key payload […]`: the hot path, the one command of which many are in flight. */
import { WalError } from '../errors.ts';
import type { AppendDone, Wal } from '../wal/wal.ts';
import { cachedBytesMax } from './argument-cache.ts';
import { absent, checkKey, checkOperation, collectionArgument, parseInteger, shown } from './arguments.ts';
import type { CommandDescription } from './command.ts';
import type { Limits } from './limits.ts';

export const appendDescription: CommandDescription = {
  name: 'WAL.APPEND',
  usage: 'collection <*|next-seq> op key payload [op key payload ...]',
  summary: 'Appends a batch atomically; replies with the sequence of its last entry when it is durable',
  minimum: 5,
  maximum: Number.MAX_SAFE_INTEGER,
  takesCollection: true,
  writes: true,
};

const asterisk = 0x2a;
/** The lower-case bytes of `wal.append`. */
const lowerName = Buffer.from('wal.append');

/** Whether the first argument of a request names this command, in any case. */
export function isAppend(name: Buffer): boolean {
  if (name.length !== lowerName.length) return false;
  for (let at = 0; at < name.length; at += 1) {
    const byte = name[at] ?? 0;
    // Setting bit 5 makes a letter lower case, and also turns the byte 0x0e into the dot: that one is compared as it is.
    if (at === 3 ? byte !== 0x2e : (byte | 0x20) !== lowerName[at]) return false;
  }
  return true;
}

/**
 * Names of collections seen lately, so that the hot path need not check and decode the same bytes again and again. Short
 * arguments come out of the `ArgumentCache` as the same Buffer each time, so the Buffer itself is the key.
 */
export class CollectionNames {
  readonly #names = new Map<Buffer, string>();

  /** The checked name of the bytes; throws as `collectionArgument`. */
  nameOf(bytes: Buffer): string {
    const known = this.#names.get(bytes);
    if (known !== undefined) return known;
    const name = collectionArgument(bytes);
    if (bytes.length <= cachedBytesMax) {
      if (this.#names.size >= namesMax) this.#names.clear();
      this.#names.set(bytes, name);
    }
    return name;
  }
}

const namesMax = 8192;

/**
 * Checks a request and hands its batch to the log. `request` begins with the command's name.
 * Throws a WalError for bad arguments; everything else is answered through `done`.
 */
export function startAppend(
  wal: Wal,
  names: CollectionNames,
  limits: Limits,
  request: readonly Buffer[],
  done: AppendDone,
): void {
  const fieldCount = request.length - 3;
  if (fieldCount < 3 || fieldCount % 3 !== 0) throw usageError();
  if (fieldCount > 3 * limits.batchEntries) {
    throw new WalError(
      'TOOLARGE',
      `a batch of ${fieldCount / 3} entries: at most ${limits.batchEntries}; send several`,
    );
  }
  const collection = names.nameOf(request[1] ?? absent);
  const nextSequence = nextSequenceOf(request[2] ?? absent);
  const fields = request.slice(3);
  checkEntries(fields, limits);
  wal.append(collection, nextSequence, fields, done);
}

function checkEntries(fields: readonly Buffer[], limits: Limits): void {
  let bytes = 0;
  for (let at = 0; at < fields.length; at += 3) {
    const operation = fields[at] ?? absent;
    const key = fields[at + 1] ?? absent;
    checkOperation(operation);
    checkKey(key);
    bytes += operation.length + key.length + (fields[at + 2] ?? absent).length;
  }
  if (bytes > limits.batchBytes) {
    throw new WalError(
      'TOOLARGE',
      `a batch of ${bytes} bytes: at most ${limits.batchBytes}; send several smaller ones`,
    );
  }
}

function nextSequenceOf(bytes: Buffer): number | undefined {
  if (bytes.length === 1 && bytes[0] === asterisk) return undefined;
  const sequence = parseInteger(bytes);
  if (sequence >= 0) return sequence;
  throw new WalError('ERR', `next-seq '${shown(bytes)}': must be * or the sequence that the first entry must get`);
}

function usageError(): WalError {
  return new WalError(
    'ERR',
    `wrong number of arguments for 'WAL.APPEND': usage: WAL.APPEND ${appendDescription.usage}; each entry is op, key and payload`,
  );
}
