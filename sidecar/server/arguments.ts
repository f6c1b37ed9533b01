/** Arguments of commands, checked: each function takes one as it came and returns what it means, or throws a WalError. */
import { isUtf8 } from 'node:buffer';
import { type Component, components } from '../assignment/assignment.ts';
import { WalError } from '../errors.ts';

/** Stands for an argument that is not there, where the number of arguments was checked: it is never seen. */
export const absent: Buffer = Buffer.alloc(0);

export const collectionBytesMax = 512;
export const keyBytesMax = 4096;
export const operationBytesMax = 32;

const digitZero = 0x30;

/** The decimal number that the bytes are, from 0 to 2^53 − 1, else -1. */
export function parseInteger(bytes: Buffer): number {
  if (bytes.length === 0 || bytes.length > 16) return -1;
  let value = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const digit = (bytes[at] ?? 0) - digitZero;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return Number.isSafeInteger(value) ? value : -1;
}

/** A number that `name` stands for in the error, from `minimum` to `maximum`. ERR if it is none, INVALID out of range. */
export function integerArgument(bytes: Buffer, name: string, minimum = 0, maximum = Number.MAX_SAFE_INTEGER): number {
  const value = parseInteger(bytes);
  if (value < 0) throw new WalError('ERR', `${name} '${shown(bytes)}' is not a whole number from 0 to 2^53 - 1`);
  if (value < minimum || value > maximum) {
    throw new WalError('INVALID', `${name} ${value}: must be from ${minimum} to ${maximum}`);
  }
  return value;
}

/** A collection's name: 1–512 bytes of UTF-8 without NUL. */
export function collectionArgument(bytes: Buffer): string {
  if (bytes.length === 0) throw new WalError('INVALID', 'the collection name is empty: give it 1 to 512 bytes');
  if (bytes.length > collectionBytesMax) {
    throw new WalError(
      'INVALID',
      `collection '${shown(bytes)}': the name has ${bytes.length} bytes; at most ${collectionBytesMax} are allowed`,
    );
  }
  if (bytes.includes(0)) {
    throw new WalError('INVALID', `collection '${shown(bytes)}': the name holds a NUL byte; leave it out`);
  }
  if (!isUtf8(bytes)) {
    throw new WalError('INVALID', `collection '${shown(bytes)}': the name is not UTF-8; encode it so`);
  }
  return bytes.toString('utf8');
}

/** The one of `wal`, `viper`, … that the bytes name, in any case. */
export function componentArgument(bytes: Buffer): Component {
  const name = bytes.toString('latin1').toLowerCase();
  const component = components.find((candidate) => candidate === name);
  if (component === undefined) {
    throw new WalError('INVALID', `component '${shown(bytes)}': must be one of ${components.join(', ')}`);
  }
  return component;
}

/** Throws unless the bytes are a token of 1–32 letters, digits, `_`. */
export function checkOperation(bytes: Buffer): void {
  const length = bytes.length;
  let legal = length > 0 && length <= operationBytesMax;
  for (let at = 0; legal && at < length; at += 1) legal = isTokenByte(bytes[at] ?? 0);
  if (legal) return;
  throw new WalError(
    'INVALID',
    `operation '${shown(bytes)}': must be 1 to ${operationBytesMax} letters, digits or _, such as INSERT, UPDATE, DELETE`,
  );
}

/** Throws unless the bytes are UTF-8 of at most 4 KiB; empty is allowed. */
export function checkKey(bytes: Buffer): void {
  if (bytes.length > keyBytesMax) {
    throw new WalError(
      'INVALID',
      `key '${shown(bytes)}' has ${bytes.length} bytes; at most ${keyBytesMax} are allowed: put more into the payload`,
    );
  }
  if (!isAscii(bytes) && !isUtf8(bytes)) {
    throw new WalError('INVALID', `key '${shown(bytes)}' is not UTF-8: put binary data into the payload`);
  }
}

/** `COUNT n`, `BYTES n` and the like after the fixed arguments: the numbers given, by upper-case name. */
export function optionArguments<Name extends string>(
  values: readonly Buffer[],
  from: number,
  allowed: Readonly<Record<Name, { readonly minimum: number; readonly maximum: number }>>,
): Partial<Record<Name, number>> {
  const given: Partial<Record<Name, number>> = {};
  for (let at = from; at < values.length; at += 2) {
    const word = values[at] ?? absent;
    const name = word.toString('latin1').toUpperCase();
    const value = values[at + 1];
    if (!isKeyOf(allowed, name) || value === undefined || given[name] !== undefined) {
      const known = Object.keys(allowed).join(' n, ');
      throw new WalError('ERR', `syntax error at '${shown(word)}': ${known} n may follow, each once with its number`);
    }
    given[name] = integerArgument(value, name, allowed[name].minimum, allowed[name].maximum);
  }
  return given;
}

function isKeyOf<Name extends string>(table: Readonly<Record<Name, unknown>>, name: string): name is Name {
  return Object.hasOwn(table, name);
}

/** An argument as an error may show it: at most 64 bytes, no control characters, no quotes that end it. */
export function shown(bytes: Buffer): string {
  const text = bytes
    .subarray(0, 64)
    .toString('utf8')
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    .replaceAll(/[\0-\x1f\x7f']/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return bytes.length > 64 ? `${text}...` : text;
}

function isTokenByte(byte: number): boolean {
  const letter = byte | 0x20;
  return (letter >= 0x61 && letter <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x5f;
}

/** Short keys are looked at here: the call to the native check costs more than the loop. */
function isAscii(bytes: Buffer): boolean {
  if (bytes.length > 64) return false;
  for (let at = 0; at < bytes.length; at += 1) if ((bytes[at] ?? 0) >= 0x80) return false;
  return true;
}
