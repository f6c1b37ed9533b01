/**
 * Every limit of the socket server (R5), in one place. At a limit a connection is not read until it drains, or gets
 * a clear error. The worst case in memory is `heldBytes` + one request of `requestBytes` + `replyBytes` + for each
 * connection what it may always hold and one chunk of the operating system's (64 KiB).
 */
export interface Limits {
  /** Connections at once; one more gets `BUSY`. */
  readonly connections: number;
  /** Entries of one batch. */
  readonly batchEntries: number;
  /** Operations, keys and payloads of one batch together. */
  readonly batchBytes: number;
  /** One request on the wire: the largest batch, and the lengths, line ends and names around it. */
  readonly requestBytes: number;
  /** Arguments of one request: a third more than the largest batch has, so that one a little over is told so and goes on. */
  readonly requestArguments: number;
  /** One inline command, typed by hand. */
  readonly inlineBytes: number;
  /** Received and not answered, of one connection; beyond it the connection is not read. */
  readonly connectionHeldBytes: number;
  /** Requests received and not answered, of one connection. */
  readonly connectionHeldRequests: number;
  /** What a connection may always hold, however much the others do: small requests never wait for large ones. */
  readonly connectionAlwaysBytes: number;
  /** Output not yet taken by the client, of one connection; beyond it no further request is carried out. */
  readonly connectionOutputBytes: number;
  /** Received and not answered and not yet taken output, over all connections. */
  readonly heldBytes: number;
  /** Entries read for WAL.READ and WAL.EXPORT and not yet taken by clients, over all connections. */
  readonly replyBytes: number;
  /** In this time one large request must bring `requestProgressBytes`, or its end, while others wait for its place. */
  readonly requestStallMs: number;
  readonly requestProgressBytes: number;
  /** How long a client may take nothing of its output before it is disconnected. */
  readonly outputStallMs: number;
  /** How long a connection that we end may take to read its last replies and close. */
  readonly lingerMs: number;
}

const mebibyte = 1024 * 1024;

export const defaultLimits: Limits = {
  connections: 10_000,
  batchEntries: 100_000,
  batchBytes: 64 * mebibyte,
  requestBytes: 72 * mebibyte,
  requestArguments: 400_000,
  inlineBytes: 64 * 1024,
  connectionHeldBytes: mebibyte,
  connectionHeldRequests: 4096,
  connectionAlwaysBytes: 16 * 1024,
  connectionOutputBytes: mebibyte,
  heldBytes: 64 * mebibyte,
  replyBytes: 512 * mebibyte,
  requestStallMs: 10_000,
  requestProgressBytes: 4 * mebibyte,
  outputStallMs: 60_000,
  lingerMs: 2_000,
};

/** What one argument costs besides its bytes: the Buffer object that shows it. Measured: about 96 bytes. */
export const argumentOverheadBytes = 96;
