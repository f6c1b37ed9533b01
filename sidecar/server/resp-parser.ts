/**
 * Requests of the Redis serialization protocol, cut out of the bytes as they come; no I/O here.
 *
 *     *3 CR LF                 a request of 3 arguments
 *     $10 CR LF WAL.APPEND CR LF
 *     $1 CR LF c CR LF
 *     $1 CR LF * CR LF
 *     PING CR LF               anything that does not begin with `*` is an inline command
 *
 * The parser owns the chunks: arguments that lie whole in one chunk are views of it, others are put together in a
 * buffer that grows with what has arrived, not with the length that was announced. A length over a limit is refused
 * when it is read, before anything is allocated for it.
 */
import { WalError } from '../errors.ts';
import { type ArgumentCache, cachedBytesMax } from './argument-cache.ts';
import { splitInlineCommand } from './inline-command.ts';
import { argumentOverheadBytes, type Limits } from './limits.ts';

const carriageReturn = 0x0d;
const lineFeed = 0x0a;
const asterisk = 0x2a;
const dollar = 0x24;
const minus = 0x2d;
const digitZero = 0x30;

/** Arguments of a request that are looked for in the cache: command, collection, next-seq, operation. */
const cachedArguments = 4;
/** Requests with more arguments go the slow way, which gains nothing from haste. */
const fastArgumentsMax = 1024;
/** Digits of a length: 2^53 has 16. */
const lengthDigitsMax = 16;
/** The least memory for an argument that spans chunks. */
const assemblyBytesMin = 4096;
/** What a chunk that waits costs besides its bytes. */
const chunkOverheadBytes = 256;
/** A length line that has not ended yet. */
const incomplete = -2;

const noBytes = Buffer.alloc(0);

export type ParserLimits = Pick<Limits, 'requestBytes' | 'requestArguments' | 'inlineBytes'>;

export class RequestParser {
  readonly #limits: ParserLimits;
  readonly #cache: ArgumentCache;
  #chunk: Buffer = noBytes;
  #position = 0;
  /** Chunks that came while this one was not done. */
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;

  /** Arguments still to come of the request that has begun; 0 between requests. */
  #argumentsLeft = 0;
  #arguments: Buffer[] = [];
  #requestBytes = 0;
  /** Length of the argument that has begun, or -1 before its length line. */
  #bulkLength = -1;
  /** The argument being put together from several chunks, its CR LF included. */
  #assembly: Buffer | undefined;
  #assembledBytes = 0;

  /** The cache may be shared by many parsers. */
  constructor(limits: ParserLimits, cache: ArgumentCache) {
    this.#limits = limits;
    this.#cache = cache;
  }

  /** Bytes on the wire of the request that `next` returned last. */
  lastRequestBytes = 0;

  /** Memory that unparsed bytes and the request that has begun take, in bytes. */
  get heldBytes(): number {
    return (
      this.#queuedBytes +
      this.#chunk.length -
      this.#position +
      this.#requestBytes +
      this.#arguments.length * argumentOverheadBytes
    );
  }

  /** Takes bytes as they came. The parser owns the chunk from now on: nobody may write into it. */
  push(chunk: Buffer): void {
    if (this.#position === this.#chunk.length && this.#queue.length === 0) {
      this.#chunk = chunk;
      this.#position = 0;
      return;
    }
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length + chunkOverheadBytes;
  }

  /**
   * The arguments of the next request, at least one, or undefined until more bytes come.
   * Throws `ERR Protocol error: …` or `TOOLARGE`: the stream cannot be followed any further then.
   */
  next(): Buffer[] | undefined {
    for (;;) {
      if (this.#argumentsLeft === 0) {
        const whole = this.#readWhole();
        if (whole !== undefined) return whole;
      }
      if (this.#argumentsLeft === 0 && !this.#begin()) {
        if (!this.#nextChunk()) return undefined;
        continue;
      }
      while (this.#argumentsLeft > 0) {
        if (!this.#readArgument() && !this.#nextChunk()) return undefined;
      }
      // A blank line and an empty array are no request.
      if (this.#arguments.length > 0) return this.#finish();
      this.#requestBytes = 0;
    }
  }

  /**
   * The fast path: a request that lies whole in the chunk. Anything else, be it incomplete, wrong, large or inline, is
   * undefined, and the slow path starts at the same byte. It is all in one function for the sake of local variables.
   */
  #readWhole(): Buffer[] | undefined {
    const chunk = this.#chunk;
    const start = this.#position;
    const end = chunk.length;
    let at = start + 1;
    if (at >= end || chunk[start] !== asterisk) return undefined;
    let count = 0;
    for (;;) {
      const digit = (at < end ? (chunk[at] ?? 0) : 0) - digitZero;
      if (digit < 0 || digit > 9) break;
      count = count * 10 + digit;
      at += 1;
    }
    if (count === 0 || count > fastArgumentsMax || !this.#isLineEnd(at)) return undefined;
    at += 2;
    // oxlint-disable-next-line unicorn/no-new-array -- at its full length at once: pushing grows it in steps
    const request = new Array<Buffer>(count);
    for (let index = 0; index < count; index += 1) {
      if (at >= end || chunk[at] !== dollar) return undefined;
      at += 1;
      const firstDigit = at;
      let length = 0;
      for (;;) {
        const digit = (at < end ? (chunk[at] ?? 0) : 0) - digitZero;
        if (digit < 0 || digit > 9) break;
        length = length * 10 + digit;
        at += 1;
      }
      if (at === firstDigit || length > end || !this.#isLineEnd(at)) return undefined;
      const from = at + 2;
      at = from + length;
      if (!this.#isLineEnd(at)) return undefined;
      const often = index < cachedArguments && length <= cachedBytesMax;
      request[index] = often ? this.#cache.slice(chunk, from, at) : chunk.subarray(from, at);
      at += 2;
    }
    this.lastRequestBytes = at - start;
    this.#position = at;
    return request;
  }

  #isLineEnd(at: number): boolean {
    const chunk = this.#chunk;
    return at + 1 < chunk.length && chunk[at] === carriageReturn && chunk[at + 1] === lineFeed;
  }

  #finish(): Buffer[] {
    const request = this.#arguments;
    this.lastRequestBytes = this.#requestBytes;
    this.#arguments = [];
    this.#requestBytes = 0;
    return request;
  }

  /** Moves on to the next chunk, with what is left of this one before it; false if there is none. */
  #nextChunk(): boolean {
    const next = this.#queue.shift();
    if (next === undefined) return false;
    this.#queuedBytes -= next.length + chunkOverheadBytes;
    // What is left is the start of a line (arguments are taken as far as they have come), so this copies each byte once
    // but for lines that dribble in, and those are short.
    this.#chunk =
      this.#position === this.#chunk.length ? next : Buffer.concat([this.#chunk.subarray(this.#position), next]);
    this.#position = 0;
    return true;
  }

  /** Reads the head of an array, or a whole inline command; false if it has not come yet. */
  #begin(): boolean {
    if (this.#position >= this.#chunk.length) return false;
    if (this.#chunk[this.#position] !== asterisk) return this.#readInline();
    const count = this.#readLength();
    if (count === incomplete) return false;
    if (count > this.#limits.requestArguments) {
      throw tooLarge(`${count} arguments`, `at most ${this.#limits.requestArguments} arguments`);
    }
    this.#argumentsLeft = Math.max(0, count);
    return true;
  }

  #readInline(): boolean {
    const end = this.#chunk.indexOf(lineFeed, this.#position);
    const length = (end < 0 ? this.#chunk.length : end) - this.#position;
    if (length > this.#limits.inlineBytes) {
      throw protocolError(`an inline command holds at most ${this.#limits.inlineBytes} bytes; send an array instead`);
    }
    if (end < 0) return false;
    const lineEnd = end > this.#position && this.#chunk[end - 1] === carriageReturn ? end - 1 : end;
    const words = splitInlineCommand(this.#chunk.subarray(this.#position, lineEnd));
    if (words === undefined) throw protocolError('a quote of the inline command is not closed, or text follows it');
    this.#arguments = words;
    this.#requestBytes = end + 1 - this.#position;
    this.#position = end + 1;
    return true;
  }

  /** Takes as much of the next argument as has come; false if that is not all of it. */
  #readArgument(): boolean {
    if (this.#bulkLength < 0 && !this.#readArgumentLength()) return false;
    const end = this.#position + this.#bulkLength;
    if (this.#assembly !== undefined || end + 2 > this.#chunk.length) return this.#assemble();
    checkLineEnd(this.#chunk, end);
    this.#arguments.push(this.#slice(this.#position, end));
    this.#requestBytes += this.#bulkLength + 2;
    this.#position = end + 2;
    this.#endArgument();
    return true;
  }

  /** An argument that lies whole in the chunk. Command, collection, next-seq and operation often are old friends. */
  #slice(start: number, end: number): Buffer {
    const often = this.#arguments.length < cachedArguments && end - start <= cachedBytesMax;
    return often ? this.#cache.slice(this.#chunk, start, end) : this.#chunk.subarray(start, end);
  }

  #endArgument(): void {
    this.#bulkLength = -1;
    this.#argumentsLeft -= 1;
  }

  #readArgumentLength(): boolean {
    if (this.#position >= this.#chunk.length) return false;
    const marker = this.#chunk[this.#position] ?? 0;
    if (marker !== dollar) throw protocolError(`expected '$', got ${printable(marker)}`);
    const length = this.#readLength();
    if (length === incomplete) return false;
    if (length < 0) throw protocolError('an argument has a negative length');
    if (this.#requestBytes + length > this.#limits.requestBytes) {
      throw tooLarge(`an argument of ${length} bytes`, `at most ${this.#limits.requestBytes} bytes in all`);
    }
    this.#bulkLength = length;
    return true;
  }

  /** Copies what has come of an argument that spans chunks, and the CR LF after it. */
  #assemble(): boolean {
    const total = this.#bulkLength + 2;
    const taken = Math.min(this.#chunk.length - this.#position, total - this.#assembledBytes);
    if (taken === 0) return false;
    const filled = this.#assembledBytes + taken;
    const buffer = this.#assemblyOf(filled, total);
    this.#chunk.copy(buffer, this.#assembledBytes, this.#position, this.#position + taken);
    this.#position += taken;
    this.#assembledBytes = filled;
    this.#requestBytes += taken;
    if (filled < total) return false;
    checkLineEnd(buffer, this.#bulkLength);
    this.#arguments.push(buffer.subarray(0, this.#bulkLength));
    this.#assembly = undefined;
    this.#assembledBytes = 0;
    this.#endArgument();
    return true;
  }

  /** The assembly buffer with room for `filled` bytes: four times what has come, so that all copies together are short. */
  #assemblyOf(filled: number, total: number): Buffer {
    if (this.#assembly !== undefined && this.#assembly.length >= filled) return this.#assembly;
    const larger = Buffer.allocUnsafeSlow(Math.min(total, Math.max(assemblyBytesMin, 4 * filled)));
    this.#assembly?.copy(larger, 0, 0, this.#assembledBytes);
    this.#assembly = larger;
    return larger;
  }

  /** Reads `<marker><digits>CR LF` at the position: the number, -1 for a negative one, or `incomplete`. */
  #readLength(): number {
    const chunk = this.#chunk;
    let at = this.#position + 1;
    const negative = chunk[at] === minus;
    if (negative) at += 1;
    const firstDigit = at;
    let value = 0;
    for (; at < chunk.length; at += 1) {
      const digit = (chunk[at] ?? 0) - digitZero;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at - firstDigit > lengthDigitsMax) throw protocolError('a length has too many digits');
    if (at + 1 >= chunk.length && (at === chunk.length || chunk[at] === carriageReturn)) return incomplete;
    if (at === firstDigit || chunk[at] !== carriageReturn || chunk[at + 1] !== lineFeed) {
      throw protocolError(`'${String.fromCharCode(chunk[this.#position] ?? 0)}' is not followed by a length and CR LF`);
    }
    this.#requestBytes += at + 2 - this.#position;
    this.#position = at + 2;
    return negative ? -1 : value;
  }
}

function checkLineEnd(buffer: Buffer, at: number): void {
  if (buffer[at] !== carriageReturn || buffer[at + 1] !== lineFeed) {
    throw protocolError('an argument is longer than its length, or not followed by CR LF');
  }
}

function printable(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${byte.toString(16).padStart(2, '0')}`;
}

function protocolError(reason: string): WalError {
  return new WalError('ERR', `Protocol error: ${reason}`);
}

function tooLarge(what: string, rule: string): WalError {
  return new WalError('TOOLARGE', `Protocol error: ${what}: a request holds ${rule}; send smaller batches`);
}
