/**
 * Replies as bytes of RESP2 or RESP3, collected until they are written together.
 *
 *     reply                 RESP2                      RESP3
 *     Status                +OK                        the same
 *     WalError, ErrorLine   -CODE message              the same
 *     number                :1                         the same
 *     string, Buffer        $3 CR LF abc               the same
 *     Text                  $3 CR LF abc               =7 CR LF txt:abc
 *     array                 *2 …                       the same
 *     Map                   *4, keys and values        %2, keys and values
 *     null                  *-1                        _
 *     Encoded               as it is                   as it is
 */
import type { WalError } from '../errors.ts';

export type Protocol = 2 | 3;

export type Reply =
  | number
  | string
  | Buffer
  | null
  | Status
  | ErrorLine
  | Text
  | Encoded
  | WalError
  | readonly Reply[]
  | ReplyMap;

/** Keys and values. */
export type ReplyMap = ReadonlyMap<string, Reply>;

/** A simple string: `+OK`. One line. */
export class Status {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** An error whose code is not of the log's table. One line. */
export class ErrorLine {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Text for people (INFO): a verbatim string in RESP3. */
export class Text {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A reply that is encoded already, large perhaps: `parts` are written as they are, then `written` is called. */
export class Encoded {
  readonly parts: readonly Buffer[];
  readonly written: () => void;
  /** Calls `written` once: when the bytes were taken by the socket, or never will be. */
  constructor(parts: readonly Buffer[], written: () => void) {
    this.parts = parts;
    this.written = written;
  }
}

/** A buffer of at least this size is written as it is; a smaller one is copied to its neighbours. */
const ownPartBytes = 2048;

/** What is to be written, in order: strings whose characters are bytes (latin1), buffers, and calls when written. */
export type OutputPart = string | Buffer | (() => void);

/** Collects replies. Text is held as latin1 characters: for short replies one string costs less than many buffers. */
export class ReplyWriter {
  #text = '';
  #parts: OutputPart[] = [];
  #partBytes = 0;

  /** Bytes collected and not yet taken. */
  get bytes(): number {
    return this.#text.length + this.#partBytes;
  }

  integer(value: number): void {
    this.#text += `:${value}\r\n`;
  }

  error(error: WalError): void {
    this.#text += `-${error.code} ${oneLine(error.message)}\r\n`;
  }

  reply(reply: Reply, protocol: Protocol): void {
    if (typeof reply === 'number') this.integer(reply);
    else if (typeof reply === 'string') this.#string(reply);
    else if (reply === null) this.#text += protocol === 3 ? '_\r\n' : '*-1\r\n';
    else if (Buffer.isBuffer(reply)) this.#buffer(reply);
    else if (reply instanceof Status) this.#text += `+${oneLine(reply.text)}\r\n`;
    else if (reply instanceof ErrorLine) this.#text += `-${oneLine(reply.text)}\r\n`;
    else if (reply instanceof Text) this.#string(reply.text, protocol);
    else if (reply instanceof Encoded) this.#encoded(reply);
    else if (reply instanceof Error) this.error(reply);
    else if (isArray(reply)) this.#array(reply, protocol);
    else this.#map(reply, protocol);
  }

  /** Hands out all that was collected, in order. */
  take(): OutputPart[] {
    this.#endText();
    const parts = this.#parts;
    this.#parts = [];
    this.#partBytes = 0;
    return parts;
  }

  /** Hands out all that was collected if it is nothing but text (the usual case), else undefined. */
  takeText(): string | undefined {
    if (this.#parts.length > 0) return undefined;
    const text = this.#text;
    this.#text = '';
    return text;
  }

  #string(text: string, verbatimIn?: Protocol): void {
    const bytes = latin1(text);
    if (verbatimIn === 3) this.#text += `=${bytes.length + 4}\r\ntxt:${bytes}\r\n`;
    else this.#text += `$${bytes.length}\r\n${bytes}\r\n`;
  }

  #buffer(buffer: Buffer): void {
    this.#text += `$${buffer.length}\r\n`;
    if (buffer.length < ownPartBytes) this.#text += buffer.toString('latin1');
    else this.#part(buffer);
    this.#text += '\r\n';
  }

  #map(map: ReadonlyMap<string, Reply>, protocol: Protocol): void {
    this.#text += protocol === 3 ? `%${map.size}\r\n` : `*${map.size * 2}\r\n`;
    for (const [key, value] of map) {
      this.#string(key);
      this.reply(value, protocol);
    }
  }

  #array(replies: readonly Reply[], protocol: Protocol): void {
    this.#text += `*${replies.length}\r\n`;
    for (const reply of replies) this.reply(reply, protocol);
  }

  #encoded(encoded: Encoded): void {
    for (const part of encoded.parts) this.#part(part);
    this.#parts.push(encoded.written);
  }

  #part(buffer: Buffer): void {
    this.#endText();
    this.#parts.push(buffer);
    this.#partBytes += buffer.length;
  }

  #endText(): void {
    if (this.#text === '') return;
    this.#parts.push(this.#text);
    this.#partBytes += this.#text.length;
    this.#text = '';
  }
}

/** `Array.isArray` does not tell readonly arrays. */
function isArray(reply: readonly Reply[] | ReplyMap): reply is readonly Reply[] {
  return Array.isArray(reply);
}

const ascii = /^[\0-\x7f]*$/;

/** The UTF-8 bytes of a text as latin1 characters. */
function latin1(text: string): string {
  return ascii.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}

/** A text as one line of a simple string or error: control characters become spaces. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return latin1(text.replaceAll(/[\0-\x1f\x7f]+/g, ' '));
}
