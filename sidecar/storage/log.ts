/**
 * `LogFile` on an `AppendFile`: keeps the position, and the rule that nothing is appended after a failure (R3).
 *
 * writtenBytes is where the next append goes. After a failed write it counts what the system took of it, so that a
 * `cut` back to the last good end removes exactly the failed tail. Only a write that found no room can be mended so:
 * after a failed sync, a later one that succeeds says nothing about the bytes before.
 */
import { systemCode } from '../errors.ts';
import { type AppendFile, systemError } from './filesystem.ts';
import type { LogFile } from './storage.ts';

type State = 'ready' | 'busy' | 'full' | 'failed' | 'closed';

export class FileLog implements LogFile {
  readonly #path: string;
  readonly #file: AppendFile;
  #writtenBytes = 0;
  /** Whether something was written without a sync: a synced write would not bring it to the disk too. */
  #unsynced = false;
  #state: State = 'ready';

  constructor(path: string, file: AppendFile) {
    this.#path = path;
    this.#file = file;
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  async append(parts: readonly Uint8Array[], durable: boolean): Promise<void> {
    await this.#exclusively(['ready'], async () => {
      const synced = durable && !this.#unsynced;
      if (!synced) this.#unsynced = true;
      const { bytes, error } = await this.#file.write(parts, this.#writtenBytes, synced);
      this.#writtenBytes += bytes;
      if (error) {
        if (isFull(error)) this.#leave('full');
        throw error;
      }
      if (durable && !synced) await this.#sync();
    });
  }

  async sync(): Promise<void> {
    await this.#exclusively(['ready'], () => this.#sync());
  }

  async cut(bytes: number): Promise<void> {
    if (bytes > this.#writtenBytes)
      throw new Error(`cannot cut ${this.#path} to ${bytes}: it has ${this.#writtenBytes}`);
    await this.#exclusively(['ready', 'full'], async () => {
      await this.#file.truncate(bytes);
      this.#writtenBytes = bytes;
      await this.#sync();
    });
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#file.close();
  }

  async #sync(): Promise<void> {
    await this.#file.sync();
    this.#unsynced = false;
  }

  /** The file below was made under a temporary name, and its errors name that or none. */
  #located(error: unknown): unknown {
    const code = systemCode(error);
    if (code === undefined) return error;
    return Object.assign(systemError(code, 'write', this.#path), { cause: error });
  }

  async #exclusively(allowed: readonly State[], change: () => Promise<void>): Promise<void> {
    if (!allowed.includes(this.#state)) throw new Error(`${this.#path} cannot be written: ${reasons[this.#state]}`);
    this.#state = 'busy';
    try {
      await change();
    } catch (error) {
      this.#leave('failed');
      throw this.#located(error);
    }
    this.#leave('ready');
  }

  /** Of several reasons the first counts, and a `close` meanwhile has the last word. */
  #leave(state: State): void {
    if (this.#state === 'busy') this.#state = state;
  }
}

const reasons: Record<State, string> = {
  ready: 'it is ready',
  busy: 'a change is under way, and only one may be at a time',
  full: 'the last write found no room; cut it first',
  failed: 'an earlier write or sync failed, and what the disk holds is unknown',
  closed: 'it is closed',
};

function isFull(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
