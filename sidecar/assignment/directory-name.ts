/**
 * The name of a collection's directory (interfaces, section 4), and back.
 *
 * Bytes outside `[A-Za-z0-9._-]`, and a leading `_` or `.`, become `%XX`. A result of over 200 bytes becomes its first
 * 130 bytes, cut between escapes, then `%~` and the 64 hex digits of the name's SHA-256: the name itself then stands
 * only in `_collection.json`. Names of directories that begin with `_` or `.` are the system's.
 */
import { createHash } from 'node:crypto';

const collectionBytesMax = 512;
const directoryBytesMax = 200;
const hashedPrefixBytesMax = 130;

/** What is wrong with a collection's name, as a sentence, or undefined: 1–512 bytes of UTF-8, no NUL. */
export function collectionNameProblem(collection: string): string | undefined {
  const bytes = Buffer.byteLength(collection);
  if (bytes === 0) return 'A collection name is empty: give it 1 to 512 bytes.';
  if (bytes > collectionBytesMax)
    return `A collection name has ${bytes} bytes: at most ${collectionBytesMax} are allowed.`;
  if (!collection.isWellFormed()) return 'A collection name is no valid UTF-8.';
  if (collection.includes('\0')) return 'A collection name contains NUL: any other byte of UTF-8 is allowed.';
  return undefined;
}

/** The name of the collection's directory, at most 200 bytes of ASCII. The name is one that `collectionNameProblem` accepts. */
export function escapeCollection(collection: string): string {
  const name = Buffer.from(collection);
  const tokens = Array.from(name, (byte, place) => escapeByte(byte, place === 0));
  const escaped = tokens.join('');
  if (escaped.length <= directoryBytesMax) return escaped;
  let prefix = '';
  for (const token of tokens) {
    if (prefix.length + token.length > hashedPrefixBytesMax) break;
    prefix += token;
  }
  return `${prefix}%~${createHash('sha256').update(name).digest('hex')}`;
}

function escapeByte(byte: number, leading: boolean): string {
  const character = String.fromCharCode(byte);
  const plain = leading ? /[A-Za-z0-9-]/ : /[A-Za-z0-9._-]/;
  return plain.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

export type DirectoryName =
  | { readonly kind: 'collection'; readonly collection: string }
  /** The name must come from `_collection.json`. */
  | { readonly kind: 'hashed' }
  /** A name that the rule cannot produce (`lost+found`): no collection, reported, left alone. */
  | { readonly kind: 'foreign' }
  /** `_` or `.` in front: the system's. */
  | { readonly kind: 'system' };

/** What the name of a directory says. */
export function unescapeDirectory(directory: string): DirectoryName {
  if (directory.startsWith('_') || directory.startsWith('.')) return { kind: 'system' };
  const hashed = /^(.*)%~[0-9a-f]{64}$/s.exec(directory);
  const escaped = hashed?.[1] ?? directory;
  const bytes = unescapeBytes(escaped);
  if (bytes === undefined) return { kind: 'foreign' };
  if (hashed !== null) return isHashedPrefix(escaped, bytes) ? { kind: 'hashed' } : { kind: 'foreign' };
  const collection = decodeUtf8(bytes, true);
  const isOurs =
    collection !== undefined &&
    collectionNameProblem(collection) === undefined &&
    escapeCollection(collection) === directory;
  return isOurs ? { kind: 'collection', collection } : { kind: 'foreign' };
}

/** The bytes of an escaped name, or undefined where the rule would have written them otherwise. */
function unescapeBytes(escaped: string): Buffer | undefined {
  const tokens = escaped.match(/%[0-9A-F]{2}|[A-Za-z0-9._-]/g) ?? [];
  const bytes = tokens.map((token) => (token.length === 3 ? Number.parseInt(token.slice(1), 16) : token.charCodeAt(0)));
  const again = bytes.map((byte, place) => escapeByte(byte, place === 0)).join('');
  return again === escaped ? Buffer.from(bytes) : undefined;
}

/** Whether so much is kept of a long name: the next token did not fit, and no token is longer than three bytes. */
function isHashedPrefix(escaped: string, bytes: Buffer): boolean {
  const fits = escaped.length <= hashedPrefixBytesMax && escaped.length > hashedPrefixBytesMax - 3;
  return fits && !bytes.includes(0) && decodeUtf8(bytes, false) !== undefined;
}

function decodeUtf8(bytes: Buffer, complete: boolean): string | undefined {
  try {
    // A name cut between escapes may end within a character.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: !complete });
  } catch {
    return undefined;
  }
}
