/**
 * What goes between a disk's file system and its log worker.
 *
 * The worker sleeps in `Atomics.wait` on a counter that the sender raises after each message (waking it so costs less
 * than its event loop would), then takes every message that is there. It answers each one, in order.
 */

/** Data of the worker at its start: one `Int32`, the number of messages sent. */
export interface LogWorkerData {
  readonly sent: Int32Array;
}

/** `file` is a number that the sender chose for the file in its `create`. */
export type LogRequest = { readonly file: number } & (
  | { readonly operation: 'create'; readonly path: string }
  | {
      readonly operation: 'write';
      /** In memory that is handed over, and comes back with the reply. */
      readonly content: Uint8Array<ArrayBuffer>;
      readonly position: number;
      readonly synced: boolean;
    }
  | { readonly operation: 'sync' | 'close' }
  | { readonly operation: 'truncate'; readonly bytes: number }
);

/** `bytes`: what a write wrote, also if an error ended it. */
export interface LogReply {
  readonly bytes: number;
  readonly error: LogError | undefined;
  /** Of a write: the memory that held its content. */
  readonly memory?: ArrayBuffer;
}

/** A system error, in a form that crosses threads with its code. */
export interface LogError {
  readonly message: string;
  readonly code: string | undefined;
}
