/**
 * The bound over all connections on entries read for clients and not yet taken by them (R5). A read asks for as much as
 * it may return before it begins, gives back what it did not need when it is done, and the rest when the reply is written.
 *
 * Small reads and large ones wait in lines of their own: clients that take their large replies slowly hold up other large
 * reads, and no small one. While a large one waits, the small ones together have a quarter at most, so that its turn comes.
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

/** A read is small up to this share of the bound: 32 MiB of the default's 512; a read without options asks for 17. */
const smallShare = 1 / 16;
const smallShareWhileLargeWaits = 1 / 4;

export class ReplyBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;
  #smallUsedBytes = 0;
  readonly #small: Waiter[] = [];
  readonly #large: Waiter[] = [];

  /** `limitBytes` is the bound over all leases. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** A share of `bytes` if there is room and nobody of its kind waits, else undefined. */
  take(bytes: number): Lease | undefined {
    if (this.#lineOf(bytes).length > 0 || !this.#fits(bytes)) return undefined;
    this.#add(bytes, this.#isSmall(bytes));
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
      const line = this.#lineOf(bytes);
      const onAbort = (): void => {
        line.splice(line.indexOf(waiter), 1);
        this.#grant();
        reject(signal.reason);
      };
      const grant = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const waiter: Waiter = { bytes, grant };
      line.push(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #leaseOf(bytes: number): Lease {
    const isSmall = this.#isSmall(bytes);
    let heldBytes = bytes;
    const resize = (to: number): void => {
      this.#add(to - heldBytes, isSmall);
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

  #isSmall(bytes: number): boolean {
    return bytes <= this.#limitBytes * smallShare;
  }

  #lineOf(bytes: number): Waiter[] {
    return this.#isSmall(bytes) ? this.#small : this.#large;
  }

  #fits(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#limitBytes) return false;
    if (!this.#isSmall(bytes) || this.#large.length === 0) return true;
    return this.#smallUsedBytes + bytes <= this.#limitBytes * smallShareWhileLargeWaits;
  }

  #add(bytes: number, isSmall: boolean): void {
    this.#usedBytes += bytes;
    if (isSmall) this.#smallUsedBytes += bytes;
  }

  #grant(): void {
    for (const line of [this.#large, this.#small]) {
      for (let first = line[0]; first !== undefined && this.#fits(first.bytes); first = line[0]) {
        line.shift();
        this.#add(first.bytes, this.#isSmall(first.bytes));
        first.grant();
      }
    }
  }
}
