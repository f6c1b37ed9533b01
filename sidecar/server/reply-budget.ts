/**
 * The bound over all connections on entries read for clients and not yet taken by them (R5). A read asks for as much as
 * it may return before it begins, gives back what it did not need when it is done, and the rest when the reply is written.
 */
import { WalError } from '../errors.ts';

/** A share of the budget. */
export interface Lease {
  /** The share is `bytes` from now on, more or less than asked for. */
  readonly resize: (bytes: number) => void;
  /** Gives the share back; again does nothing. */
  readonly release: () => void;
}

interface Waiter {
  readonly bytes: number;
  readonly grant: () => void;
}

export class ReplyBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;
  readonly #waiters: Waiter[] = [];

  /** `limitBytes` is the bound over all leases. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** A share of `bytes` if there is room and nobody waits, else undefined. */
  take(bytes: number): Lease | undefined {
    if (this.#waiters.length > 0 || this.#usedBytes + bytes > this.#limitBytes) return undefined;
    this.#usedBytes += bytes;
    return this.#leaseOf(bytes);
  }

  /** Waits in line for a share of `bytes`. Rejects with the signal's reason when that is aborted first. */
  async wait(bytes: number, signal: AbortSignal): Promise<Lease> {
    if (bytes > this.#limitBytes) {
      throw new WalError(
        'TOOLARGE',
        `${bytes} bytes: all replies together hold at most ${this.#limitBytes}; ask for less`,
      );
    }
    signal.throwIfAborted();
    await this.#granted(bytes, signal);
    return this.#leaseOf(bytes);
  }

  #granted(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        this.#grant();
        reject(signal.reason);
      };
      const grant = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const waiter: Waiter = { bytes, grant };
      this.#waiters.push(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #leaseOf(bytes: number): Lease {
    let heldBytes = bytes;
    const resize = (to: number): void => {
      this.#usedBytes += to - heldBytes;
      heldBytes = to;
      this.#grant();
    };
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      resize(0);
    };
    return { resize, release };
  }

  #grant(): void {
    for (;;) {
      const [first] = this.#waiters;
      if (first === undefined || this.#usedBytes + first.bytes > this.#limitBytes) return;
      this.#waiters.shift();
      this.#usedBytes += first.bytes;
      first.grant();
    }
  }
}
