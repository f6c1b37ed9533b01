/** What the WAL engine offers to the socket server, the HTTP server and the status publisher. */
import type { WalError } from '../errors.ts';

/** One entry as clients see it. The buffers are views: read only. */
export interface WalEntry {
  readonly sequence: number;
  readonly timestampUs: number;
  readonly operation: Buffer;
  readonly key: Buffer;
  readonly payload: Buffer;
}

export interface CollectionStatistics {
  readonly collection: string;
  /** The URL it is assigned to, and the full URL of its directory. */
  readonly url: string;
  readonly path: string;
  readonly incarnation: string;
  /** The first sequence kept: checkpoint + 1. */
  readonly firstSequence: number;
  readonly nextSequence: number;
  readonly checkpoint: number;
  /** Live entries, and their encoded bytes, unflushed included, each counted once. */
  readonly entries: number;
  readonly bytes: number;
  /** Encoded bytes of unflushed entries. */
  readonly memoryBytes: number;
  readonly segments: number;
  /** 0 until the first append since the start. */
  readonly lastAppendUs: number;
}

/**
 * Called once for each append: with the sequence of its last entry when it is durable, or with the error.
 * A callback, not a promise: hundreds of thousands a second are in flight.
 */
export type AppendDone = (error: WalError | undefined, lastSequence: number) => void;

export interface Wal {
  /**
   * One atomic batch. `fields` holds operation, key, payload for each entry in turn, validated by the caller
   * (lengths, UTF-8, token rules); the engine copies them before it returns or keeps the reference until `done`.
   * `nextSequence` undefined stands for `*`. Errors through `done`: CONFLICT (its message is the actual next sequence,
   * nothing else), UNAVAILABLE, NOSPACE, FENCED, DAMAGED, TOOLARGE.
   */
  append(collection: string, nextSequence: number | undefined, fields: readonly Buffer[], done: AppendDone): void;

  /**
   * Entries at or above `from` (0: the first kept), at most `count` and about `bytes` encoded bytes, but one if there is one.
   * `blockMs` undefined: answer at once; 0: wait for ever; undefined is returned on time-out. `signal` ends the wait (the connection is gone).
   * Errors: NOTFOUND, TRIMMED, UNAVAILABLE, DAMAGED.
   */
  read(collection: string, from: number, options: ReadOptions): Promise<WalEntry[] | undefined>;

  /** An Avro object container file with the entries at or above `from`, about `bytes` of them. Errors as `read`. */
  export(collection: string, from: number, bytes: number): Promise<Buffer>;

  /** Entries up to `sequence` are no longer needed: durable when it resolves, with checkpoint + 1. */
  checkpoint(collection: string, sequence: number): Promise<number>;
  /** Flushes one collection or all; resolves with the number of entries flushed. */
  flush(collection: string | undefined): Promise<number>;
  /** Merges segments; resolves with the number of segments removed (0 until compaction is built). */
  compact(collection: string | undefined): Promise<number>;
  /** Durable when it resolves, with the number of entries dropped. NOTFOUND if there is none. */
  drop(collection: string): Promise<number>;

  statistics(collection: string): CollectionStatistics;
  /** All collections' names, in no particular but a stable order. */
  collections(): IterableIterator<string>;
}

export interface ReadOptions {
  readonly count: number;
  readonly bytes: number;
  readonly blockMs?: number;
  readonly signal?: AbortSignal;
}
