/**
 * What must hold of one collection after any crash, kept beside the engine while it is driven: what was acknowledged, and what
 * was asked and not answered, which may have happened or not (R1, R2).
 */
import assert from 'node:assert/strict';

export interface FoundEntry {
  readonly sequence: number;
  readonly payload: string;
}

/** What the engine shows of a collection; undefined: there is none. */
export interface Found {
  readonly entries: readonly FoundEntry[];
  readonly checkpoint: number;
  readonly nextSequence: number;
}

export class CollectionModel {
  readonly name: string;
  /** Acknowledged payloads: the one of sequence s at s − 1. */
  #acknowledged: string[] = [];
  #checkpoint = 0;
  /** Batches sent and not answered, in order. */
  #pending: string[][] = [];
  #pendingCheckpoint: number | undefined;
  #dropPending = false;
  /** An append or an assignment of this incarnation was acknowledged. */
  #exists = false;

  constructor(name: string) {
    this.name = name;
  }

  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#pendingCheckpoint === undefined && !this.#dropPending;
  }

  /** Nothing but appends is unanswered: more may follow. */
  get isAppending(): boolean {
    return this.#pendingCheckpoint === undefined && !this.#dropPending;
  }

  /** The sequence that the next append's first entry gets if all before it succeed. */
  get nextToSend(): number {
    return this.#acknowledged.length + this.#pending.reduce((sum, batch) => sum + batch.length, 0) + 1;
  }

  get unanswered(): number {
    return this.#pending.length + (this.#pendingCheckpoint === undefined ? 0 : 1) + (this.#dropPending ? 1 : 0);
  }

  get exists(): boolean {
    return this.#exists;
  }

  get last(): number {
    return this.#acknowledged.length;
  }

  get checkpoint(): number {
    return this.#checkpoint;
  }

  sendAppend(batch: string[]): void {
    this.#pending.push(batch);
  }

  /** Replies come in order: this one answers the oldest batch. */
  acknowledgeAppend(batch: string[], last: number): void {
    assert.equal(this.#pending[0], batch, `${this.name}: replies out of order`);
    this.#pending.shift();
    this.#acknowledged.push(...batch);
    this.#exists = true;
    assert.equal(last, this.#acknowledged.length, `${this.name}: the acknowledged sequence`);
  }

  sendCheckpoint(sequence: number): void {
    this.#pendingCheckpoint = sequence;
  }

  acknowledgeCheckpoint(): void {
    this.#checkpoint = this.#pendingCheckpoint ?? this.#checkpoint;
    this.#pendingCheckpoint = undefined;
  }

  sendDrop(): void {
    this.#dropPending = true;
  }

  acknowledgeDrop(): void {
    this.#forget();
  }

  /** Compares with what is found after a recovery, and goes on from there: what is found is durable now. */
  reconcile(found: Found | undefined): void {
    if (found === undefined) {
      assert.ok(
        this.#dropPending || !this.#exists,
        `${this.name}: acknowledged entries are gone with their collection`,
      );
      this.#forget();
      return;
    }
    const { checkpoint, entries, nextSequence } = found;
    const checkpoints = [this.#checkpoint, this.#pendingCheckpoint ?? this.#checkpoint];
    assert.ok(
      checkpoints.includes(checkpoint),
      `${this.name}: checkpoint ${checkpoint}, expected one of ${checkpoints.join(', ')}`,
    );
    const payloads = this.#whatMayBe(nextSequence - 1);
    assert.equal(entries.length, payloads.length - checkpoint, `${this.name}: number of entries`);
    for (const [index, { sequence, payload }] of entries.entries()) {
      assert.equal(sequence, checkpoint + 1 + index, `${this.name}: a gap`);
      assert.equal(payload, payloads[sequence - 1], `${this.name}: entry ${sequence}`);
    }
    this.#acknowledged = payloads;
    this.#checkpoint = checkpoint;
    this.#pending = [];
    this.#pendingCheckpoint = undefined;
    this.#dropPending = false;
    this.#exists = true;
  }

  /** The acknowledged entries and the first few whole pending batches that lead up to `last`. */
  #whatMayBe(last: number): string[] {
    const payloads = [...this.#acknowledged];
    assert.ok(last >= payloads.length, `${this.name}: ends at ${last}, but ${payloads.length} was acknowledged`);
    for (const batch of this.#pending) {
      if (payloads.length >= last) break;
      payloads.push(...batch);
    }
    assert.equal(payloads.length, last, `${this.name}: ends inside a batch`);
    return payloads;
  }

  #forget(): void {
    this.#acknowledged = [];
    this.#checkpoint = 0;
    this.#pending = [];
    this.#pendingCheckpoint = undefined;
    this.#dropPending = false;
    this.#exists = false;
  }
}
