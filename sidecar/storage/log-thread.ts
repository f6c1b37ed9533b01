/**
 * The sending side of the log worker: one thread for one URL's log files, started with the first of them.
 *
 * Requests are carried out and answered in the order of the calls. The thread keeps the process alive only while an
 * answer is due. If it dies, every call fails with `EIO`: what its last writes did is unknown.
 */
import { SHARE_ENV, Worker } from 'node:worker_threads';
import type { AppendFile, WriteOutcome } from './filesystem.ts';
import type { LogReply, LogRequest, LogWorkerData } from './log-messages.ts';
import { copyParts, partsBytes } from './parts.ts';

/** Small: the thread's code is a loop, and the bytes it writes are outside its heap; room for a long list of parts. */
const resourceLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1, codeRangeSizeMb: 4, stackSizeMb: 1 };

/** In a checkout Node runs the TypeScript; the compiler rewrites imports to `.js`, but not this address. */
const workerAddress = import.meta.url.endsWith('.ts')
  ? new URL('./log-worker.ts', import.meta.url)
  : new URL('./log-worker.js', import.meta.url);

/** Larger memory is given up after its write. */
const spareBytesMax = 4 * 1024 * 1024;

type Waiter = (reply: LogReply) => void;

export class LogThread {
  readonly #sent = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #waiters: Waiter[] = [];
  #worker: Worker | undefined;
  #failure: Error | undefined;
  #files = 0;
  /** Memory of an earlier write. */
  #spare: ArrayBuffer | undefined;

  /** A new file; `EEXIST` if the name is taken. */
  async create(path: string): Promise<AppendFile> {
    this.#files += 1;
    const file = this.#files;
    const succeed = async (request: LogRequest) => {
      const { error } = outcome(await this.#ask(request));
      if (error) throw error;
    };
    await succeed({ file, operation: 'create', path });
    return {
      write: async (parts, position, synced) => {
        const content = this.#filled(parts);
        return outcome(await this.#ask({ file, operation: 'write', content, position, synced }));
      },
      sync: () => succeed({ file, operation: 'sync' }),
      truncate: (bytes) => succeed({ file, operation: 'truncate', bytes }),
      close: async () => {
        // Without the thread, its files are closed.
        if (!this.#failure) await succeed({ file, operation: 'close' });
      },
    };
  }

  /** Ends the thread, after the system call it is in; its files are closed. */
  async close(): Promise<void> {
    this.#failure ??= new Error('the storage is closed');
    await this.#worker?.terminate();
  }

  #ask(request: LogRequest): Promise<LogReply> {
    if (this.#failure) return Promise.reject(this.#failure);
    const worker = this.start();
    const { promise, resolve } = Promise.withResolvers<LogReply>();
    if (this.#waiters.push(resolve) === 1) worker.ref();
    worker.postMessage(request, request.operation === 'write' ? [request.content.buffer] : []);
    Atomics.add(this.#sent, 0, 1);
    Atomics.notify(this.#sent, 0);
    return promise;
  }

  /**
   * The parts in memory that can be handed to the thread. It comes back with the reply and is used again: fresh memory
   * for each write costs more than the copy. (Shared memory would save the copy, but V8 copies into and out of it slowly.)
   */
  #filled(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
    const bytes = partsBytes(parts);
    const spare = this.#spare;
    this.#spare = undefined;
    const memory = spare !== undefined && spare.byteLength >= bytes ? spare : new ArrayBuffer(memoryBytes(bytes));
    const content = new Uint8Array(memory, 0, bytes);
    copyParts(parts, content);
    return content;
  }

  /** The thread, started if it isn't running yet: that takes some 100 ms. */
  start(): Worker {
    this.#worker ??= this.#spawn();
    return this.#worker;
  }

  #spawn(): Worker {
    const workerData: LogWorkerData = { sent: this.#sent };
    const worker = new Worker(workerAddress, {
      workerData,
      resourceLimits,
      env: SHARE_ENV,
      execArgv: [],
      name: 'log',
    });
    worker.unref();
    worker.on('message', (reply: LogReply) => {
      const waiter = this.#waiters.shift();
      if (this.#waiters.length === 0) worker.unref();
      if (reply.memory !== undefined && reply.memory.byteLength <= spareBytesMax) this.#spare = reply.memory;
      waiter?.(reply);
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => this.#fail(new Error('it ended')));
    return worker;
  }

  #fail(cause: unknown): void {
    this.#failure ??= cause instanceof Error ? cause : new Error(String(cause));
    const { message } = this.#failure;
    for (const waiter of this.#waiters.splice(0)) {
      waiter({ bytes: 0, error: { message: `EIO: the thread that writes this log failed: ${message}`, code: 'EIO' } });
    }
  }
}

/** What is asked of the system for a write: with some room, so that the next one fits, too. */
function memoryBytes(bytes: number): number {
  return bytes >= spareBytesMax ? bytes : Math.min(spareBytesMax, Math.max(64 * 1024, 2 * bytes));
}

function outcome({ bytes, error }: LogReply): WriteOutcome {
  if (!error) return { bytes, error: undefined };
  return { bytes, error: Object.assign(new Error(error.message), { code: error.code }) };
}
