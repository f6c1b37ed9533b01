/**
 * Inline commands: a line typed by hand (`PING`, `WAL.READ "my log" 1`) instead of a RESP array. Arguments are
 * separated by spaces; in double quotes `\n \r \t \b \a \\ \" \xHH` stand for bytes, in single quotes only `\'`.
 */
const space = 0x20;
const backslash = 0x5c;
const doubleQuote = 0x22;
const singleQuote = 0x27;

const escapes: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, b: 0x08, a: 0x07 };

/** The arguments of a line without its line end (none for a blank line), or undefined where a quote is not closed. */
export function splitInlineCommand(line: Buffer): Buffer[] | undefined {
  const words: Buffer[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && isBlank(line[at])) at += 1;
    if (at >= line.length) return words;
    const word = readWord(line, at);
    if (word === undefined) return undefined;
    words.push(word.bytes);
    at = word.end;
  }
}

interface Word {
  readonly bytes: Buffer;
  readonly end: number;
}

function readWord(line: Buffer, start: number): Word | undefined {
  const bytes: number[] = [];
  let at = start;
  while (at < line.length && !isBlank(line[at])) {
    const byte = line[at] ?? 0;
    if (byte === doubleQuote || byte === singleQuote) {
      const end = readQuoted(line, at, bytes);
      // What follows a closing quote must be a blank: "a"b is more likely a slip than a name.
      if (end === undefined || (end < line.length && !isBlank(line[end]))) return undefined;
      at = end;
    } else {
      bytes.push(byte);
      at += 1;
    }
  }
  return { bytes: Buffer.from(bytes), end: at };
}

/** Reads from the quote at `start` into `bytes`; returns the place after the closing quote, undefined without one. */
function readQuoted(line: Buffer, start: number, bytes: number[]): number | undefined {
  const quote = line[start];
  let at = start + 1;
  while (at < line.length) {
    const byte = line[at] ?? 0;
    if (byte === quote) return at + 1;
    if (byte === backslash && at + 1 < line.length) {
      at = quote === doubleQuote ? readEscape(line, at, bytes) : readSingleQuotedEscape(line, at, bytes);
    } else {
      bytes.push(byte);
      at += 1;
    }
  }
  return undefined;
}

function readEscape(line: Buffer, at: number, bytes: number[]): number {
  const letter = String.fromCharCode(line[at + 1] ?? 0);
  const hex = line.toString('latin1', at + 2, at + 4);
  if (letter === 'x' && /^[0-9a-fA-F]{2}$/.test(hex)) {
    bytes.push(Number.parseInt(hex, 16));
    return at + 4;
  }
  bytes.push(escapes[letter] ?? line[at + 1] ?? 0);
  return at + 2;
}

function readSingleQuotedEscape(line: Buffer, at: number, bytes: number[]): number {
  if (line[at + 1] === singleQuote) {
    bytes.push(singleQuote);
    return at + 2;
  }
  bytes.push(backslash);
  return at + 1;
}

function isBlank(byte: number | undefined): boolean {
  return byte === space || (byte !== undefined && byte >= 0x09 && byte <= 0x0d) || byte === 0;
}
