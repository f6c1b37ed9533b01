/**
 * The bound over all connections on what was received and not answered (R5). Beyond it, a connection that holds more
 * than it always may is not read. So that requests that are in part here can still get done, one connection at a time
 * has the **turn**: it is read on, outside the bound, until its request is answered. Who has the turn and sends too little
 * of its request while others wait is disconnected; who waits for the log's answer only passes the turn on.
 */
import type { Limits } from './limits.ts';

/** A connection, as the budget sees it. */
export interface RequestHolder {
  /** Bytes that came since it was made. */
  readonly receivedBytes: number;
  /** Its request is not here in full: more bytes are what it needs. */
  readonly isReceiving: boolean;
  /** It has the turn now, or there is room again: it should look whether it may be read. */
  reconsider(): void;
  /** It had the turn, sent too little in `requestStallMs` and others wait: it is to be ended. */
  stalled(): void;
}

export class RequestBudget {
  readonly #limits: Pick<Limits, 'heldBytes' | 'requestProgressBytes' | 'requestStallMs'>;
  #heldBytes = 0;
  #full = false;
  #turn: RequestHolder | undefined;
  /** What its holder had received when it was last looked at. */
  #turnReceivedBytes = 0;
  /** Those who want the turn, first come first served. */
  readonly #queue = new Set<RequestHolder>();
  /** Those who are not read until there is room. */
  readonly #paused = new Set<RequestHolder>();
  #stallTimer: NodeJS.Timeout | undefined;

  constructor(limits: Pick<Limits, 'heldBytes' | 'requestProgressBytes' | 'requestStallMs'>) {
    this.#limits = limits;
  }

  /** Bytes held by all connections but the one that has the turn. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Whether the bound is reached; it is left again at three quarters of it. */
  get full(): boolean {
    return this.#full;
  }

  add(bytes: number): void {
    this.#heldBytes += bytes;
    if (!this.#full) {
      this.#full = this.#heldBytes > this.#limits.heldBytes;
    } else if (this.#heldBytes <= this.#limits.heldBytes * 0.75) {
      this.#full = false;
      const paused = [...this.#paused];
      this.#paused.clear();
      for (const holder of paused) holder.reconsider();
    }
  }

  /** `reconsider` is called when there is room again. */
  waitForRoom(holder: RequestHolder): void {
    this.#paused.add(holder);
  }

  hasTurn(holder: RequestHolder): boolean {
    return this.#turn === holder;
  }

  /** Asks for the turn; true if it is the holder's now, else `reconsider` is called when it is. */
  askForTurn(holder: RequestHolder): boolean {
    if (this.#turn === holder) return true;
    this.#queue.add(holder);
    if (this.#turn === undefined) this.#nextTurn();
    else this.#watchForStall();
    return this.#turn === holder;
  }

  /** Gives the turn, the place in the queue and everything else back; harmless without. */
  leave(holder: RequestHolder): void {
    this.#queue.delete(holder);
    this.#paused.delete(holder);
    this.endTurn(holder);
  }

  endTurn(holder: RequestHolder): void {
    if (this.#turn !== holder) return;
    this.#turn = undefined;
    const next = this.#nextTurn();
    next?.reconsider();
  }

  #nextTurn(): RequestHolder | undefined {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
    const [next] = this.#queue;
    if (next === undefined) return undefined;
    this.#queue.delete(next);
    this.#turn = next;
    if (this.#queue.size > 0) this.#watchForStall();
    return next;
  }

  #watchForStall(): void {
    const holder = this.#turn;
    if (holder === undefined || this.#stallTimer !== undefined) return;
    this.#turnReceivedBytes = holder.receivedBytes;
    this.#stallTimer = setTimeout(() => {
      this.#stallTimer = undefined;
      this.#judgeTurn(holder);
    }, this.#limits.requestStallMs);
    this.#stallTimer.unref();
  }

  #judgeTurn(holder: RequestHolder): void {
    if (!holder.isReceiving) {
      // The log takes its time (a disk may hang): no fault of the client's, and others need not wait for it.
      this.endTurn(holder);
      holder.reconsider();
      return;
    }
    if (holder.receivedBytes - this.#turnReceivedBytes >= this.#limits.requestProgressBytes) {
      this.#watchForStall();
      return;
    }
    holder.stalled();
    this.leave(holder);
  }
}
