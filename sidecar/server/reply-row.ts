/**
 * The appends in flight on one connection, in request order: each has its place (a `Slot`) until its callback comes, and
 * its reply is passed on when all before it have theirs.
 */
import type { WalError } from '../errors.ts';

/** The place of one append. */
export interface Slot {
  /** Memory that its request takes until it is answered. */
  readonly heldBytes: number;
  /** The last sequence, or the error; undefined until it is known. */
  reply: number | WalError | undefined;
}

/** Slots answered are cut off the row when they are so many. */
const answeredSlotsMax = 1024;

export class ReplyRow {
  #slots: Slot[] = [];
  #first = 0;
  #heldBytes = 0;

  /** Appends in flight. */
  get length(): number {
    return this.#slots.length - this.#first;
  }

  /** Memory of the requests in flight. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** A place at the end of the row. */
  push(heldBytes: number): Slot {
    const slot: Slot = { heldBytes, reply: undefined };
    this.#heldBytes += heldBytes;
    this.#slots.push(slot);
    return slot;
  }

  /** Notes the reply and passes on all that are next in order; false if none is. A second reply to a slot is ignored. */
  answer(slot: Slot, reply: number | WalError, pass: (reply: number | WalError) => void): boolean {
    if (slot.reply !== undefined) return false;
    slot.reply = reply;
    if (this.#slots[this.#first] !== slot) return false;
    let at = this.#first;
    for (; at < this.#slots.length; at += 1) {
      const next = this.#slots[at];
      if (next?.reply === undefined) break;
      this.#heldBytes -= next.heldBytes;
      pass(next.reply);
    }
    this.#first = at;
    if (at === this.#slots.length || at > answeredSlotsMax) {
      this.#slots = this.#slots.slice(at);
      this.#first = 0;
    }
    return true;
  }
}
