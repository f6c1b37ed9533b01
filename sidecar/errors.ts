import { constants } from 'node:os';

/**
 * The one table of error codes. The code is the first word of an error reply on the socket
 * (docs/errors.md explains each to users; a test compares the two).
 */
export const errorCodes = {
  ERR: 'the command is unknown or its arguments are not of its form',
  INVALID: 'an argument breaks a rule of the log',
  NOTFOUND: 'there is no such collection',
  CONFLICT: 'next-seq is not the next sequence of the collection',
  TOOLARGE: 'the request is over a limit',
  TRIMMED: 'the sequence is at or below the checkpoint',
  UNAVAILABLE: 'the storage URL that this needs does not work now',
  NOSPACE: 'the storage URL is full',
  FENCED: 'another writer has taken the storage URL over',
  DAMAGED: 'stored data of the collection is damaged',
  NOAUTH: 'a password was sent, and this server has none',
  BUSY: 'there are too many connections',
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** An error that a client may see: a code of the table and a sentence with the input, the rule and the remedy. */
export class WalError extends Error {
  override readonly name = 'WalError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The error as WalError: itself, or wrapped under `code` with the original as its cause. */
export function asWalError(error: unknown, code: ErrorCode, context: string): WalError {
  if (error instanceof WalError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new WalError(code, `${context}: ${reason}`, { cause: error });
}

/** The `code` of a Node system error (`ENOSPC`, `ENOENT`, …), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // A quota that is used up: Node has only a number for it.
  if ('errno' in error && error.errno === -constants.errno.EDQUOT) return 'EDQUOT';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** What went wrong in a URL's storage, as a client may see it: NOSPACE where there is no room, else UNAVAILABLE. */
export function storageError(error: unknown, context: string): WalError {
  return asWalError(error, isNoSpace(error) ? 'NOSPACE' : 'UNAVAILABLE', context);
}

/** Whether a system error says that there is no room left: on the disk, or in a quota. */
export function isNoSpace(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
