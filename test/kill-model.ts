/**
 * What must hold of one collection after the sidecar was killed (R1, R2), kept beside it while it is driven: what was
 * acknowledged, and what was asked and not answered, which may have happened or not.
 *
 * Each entry's payload tells what it is: collection, connection, number of its batch, its place in it and the batch's length, then
 * filling, then a checksum of all that. So a reader needs nothing but the entries to know what they are.
 */
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import type { ReadEntry } from './resp-client.ts';

/** An append: the batches of a connection are numbered in the order in which they were sent. */
export interface SentBatch {
  readonly connection: number;
  readonly number: number;
  readonly entries: number;
  /** Its first sequence, once it is known: acknowledged, or found after a kill. */
  first: number | undefined;
}

/** What the sidecar shows of a collection. */
export interface Found {
  readonly entries: readonly ReadEntry[];
  readonly checkpoint: number;
  readonly nextSequence: number;
}

/** A batch, or the end of one that a checkpoint has cut, as found. */
interface FoundBatch {
  readonly connection: number;
  readonly number: number;
  readonly entries: number;
  readonly first: number;
}

export class CollectionModel {
  readonly name: string;
  /** Only that connection appends to it, and drops it; undefined: all append. */
  readonly owner: number | undefined;
  /** By connection and number. */
  readonly #batches = new Map<string, SentBatch>();
  /** The highest one acknowledged, and all that were asked and not answered. */
  #checkpoint = 0;
  #checkpointsAsked = new Set<number>();
  #dropAsked = false;
  #acknowledgedLast = 0;
  #nextToSend = 1;

  constructor(name: string, owner: number | undefined) {
    this.name = name;
    this.owner = owner;
  }

  /** Nothing may be sent for it until its drop is answered. */
  get isDropping(): boolean {
    return this.#dropAsked;
  }

  /** The highest sequence that was acknowledged. */
  get acknowledgedLast(): number {
    return this.#acknowledgedLast;
  }

  get checkpoint(): number {
    return this.#checkpoint;
  }

  /** `next-seq` of the owner's next append. */
  get nextToSend(): number {
    return this.#nextToSend;
  }

  sent(batch: SentBatch): void {
    this.#batches.set(keyOf(batch), batch);
    this.#nextToSend += batch.entries;
  }

  acknowledged(batch: SentBatch, lastSequence: number): void {
    assert.ok(lastSequence >= batch.entries, `${this.name}: the last of ${batch.entries} entries is ${lastSequence}`);
    batch.first = lastSequence - batch.entries + 1;
    this.#acknowledgedLast = Math.max(this.#acknowledgedLast, lastSequence);
  }

  checkpointAsked(sequence: number): void {
    this.#checkpointsAsked.add(sequence);
  }

  checkpointAcknowledged(sequence: number, reply: number): void {
    assert.ok(reply > sequence, `${this.name}: checkpoint ${sequence} was answered with ${reply}`);
    this.#checkpoint = Math.max(this.#checkpoint, sequence, reply - 1);
  }

  dropAsked(): void {
    this.#dropAsked = true;
  }

  dropAcknowledged(): void {
    this.#forget();
  }

  /** Compares with what a restarted sidecar shows (undefined: NOTFOUND), and goes on from that: it is settled from now on. */
  settle(found: Found | undefined): void {
    if (found === undefined) {
      const isRight = this.#dropAsked || this.#acknowledgedLast === 0;
      assert.ok(isRight, `${this.name}: gone, with entries up to ${this.#acknowledgedLast} acknowledged`);
      this.#forget();
      return;
    }
    this.#checkPositions(found);
    const groups = groupBatches(this.name, found);
    this.#checkBatches(groups, found.checkpoint);
    this.#checkOrder(groups);
    for (const [key, batch] of this.#batches) {
      if (batch.first === undefined || batch.first + batch.entries - 1 <= found.checkpoint) this.#batches.delete(key);
    }
    this.#checkpoint = found.checkpoint;
    this.#checkpointsAsked.clear();
    this.#dropAsked = false;
    this.#acknowledgedLast = found.nextSequence - 1;
    this.#nextToSend = found.nextSequence;
  }

  #forget(): void {
    this.#batches.clear();
    this.#checkpoint = 0;
    this.#checkpointsAsked.clear();
    this.#dropAsked = false;
    this.#acknowledgedLast = 0;
    this.#nextToSend = 1;
  }

  #checkPositions({ entries, checkpoint, nextSequence }: Found): void {
    const isRight = checkpoint === this.#checkpoint || this.#checkpointsAsked.has(checkpoint);
    assert.ok(
      isRight && checkpoint >= this.#checkpoint,
      `${this.name}: the checkpoint is ${checkpoint}, acknowledged was ${this.#checkpoint}`,
    );
    assert.ok(
      nextSequence > this.#acknowledgedLast,
      `${this.name}: the next sequence is ${nextSequence}, acknowledged were entries up to ${this.#acknowledgedLast}`,
    );
    assert.equal(entries.length, nextSequence - 1 - checkpoint, `${this.name}: entries above checkpoint ${checkpoint}`);
    for (const [index, { sequence }] of entries.entries()) {
      assert.equal(sequence, checkpoint + 1 + index, `${this.name}: a gap, or an entry twice`);
    }
  }

  /** What was acknowledged is there, at its sequences; what is there was sent, and is there once. */
  #checkBatches(groups: readonly FoundBatch[], checkpoint: number): void {
    const seen = new Set<string>();
    for (const group of groups) {
      const key = keyOf(group);
      const sent = this.#batches.get(key);
      assert.ok(sent, `${this.name}: batch ${key} at ${group.first} was never sent, or had been found to be absent`);
      assert.ok(!seen.has(key), `${this.name}: batch ${key} is there twice`);
      assert.equal(group.entries, sent.entries, `${this.name}: batch ${key}`);
      assert.equal(group.first, sent.first ?? group.first, `${this.name}: the sequence of batch ${key}`);
      seen.add(key);
      sent.first = group.first;
    }
    for (const [key, { first, entries }] of this.#batches) {
      const isNeeded = first !== undefined && first + entries - 1 > checkpoint;
      assert.ok(!isNeeded || seen.has(key), `${this.name}: batch ${key}, acknowledged at ${first}, is lost`);
    }
  }

  /** The batches of a connection got their sequences in the order in which they were sent, none left out before another. */
  #checkOrder(groups: readonly FoundBatch[]): void {
    const last = new Map<number, number>();
    for (const { connection, number } of groups) {
      assert.ok((last.get(connection) ?? 0) < number, `${this.name}: ${connection}'s batch ${number} is out of order`);
      last.set(connection, number);
    }
    for (const [key, { connection, number, first }] of this.#batches) {
      const isOvertaken = first === undefined && number < (last.get(connection) ?? 0);
      assert.ok(!isOvertaken, `${this.name}: batch ${key} is absent, and a later one of its connection is there`);
    }
  }
}

/** The payload of a batch's entry. */
export function makePayload(collection: string, batch: SentBatch, index: number, fillingBytes: number): Buffer {
  const label = `${collection} ${keyOf(batch)} ${index}/${batch.entries}\n`;
  const bytes = Buffer.alloc(label.length + fillingBytes + 4, batch.number + index);
  bytes.write(label, 'latin1');
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4);
  return bytes;
}

/** The key of that entry. */
export function makeKey(batch: SentBatch, index: number): string {
  return `${keyOf(batch)} ${index}`;
}

interface Label {
  readonly connection: number;
  readonly number: number;
  readonly index: number;
  readonly entries: number;
}

function readLabel(collection: string, { sequence, key, payload }: ReadEntry): Label {
  const at = `${collection}: the entry ${sequence}`;
  assert.equal(payload.readUInt32LE(payload.length - 4), crc32(payload.subarray(0, -4)), `${at} was changed`);
  const text = payload.toString('latin1', 0, payload.indexOf('\n'));
  const match = /^(\S+) (\d+)\.(\d+) (\d+)\/(\d+)$/.exec(text);
  assert.ok(match !== null && match[1] === collection, `${at} is another's: ${text}`);
  const [connection = 0, number = 0, index = 0, entries = 0] = match.slice(2).map(Number);
  assert.equal(key, `${connection}.${number} ${index}`, `${at} has another's key`);
  return { connection, number, index, entries };
}

/** The batches that the entries make up: each one whole, but for the first, which the checkpoint may have cut. */
function groupBatches(collection: string, { entries, checkpoint }: Found): FoundBatch[] {
  const groups: FoundBatch[] = [];
  let expected: Label | undefined;
  for (const entry of entries) {
    const label = readLabel(collection, entry);
    if (expected !== undefined) {
      assert.deepEqual(label, expected, `${collection}: a batch is not whole before entry ${entry.sequence}`);
    } else {
      const isCut = entry.sequence === checkpoint + 1;
      assert.ok(isCut || label.index === 0, `${collection}: a batch has lost its beginning at ${entry.sequence}`);
      const { connection, number, index } = label;
      groups.push({ connection, number, entries: label.entries, first: entry.sequence - index });
    }
    expected = label.index + 1 < label.entries ? { ...label, index: label.index + 1 } : undefined;
  }
  assert.equal(expected, undefined, `${collection}: the last batch is not whole`);
  return groups;
}

function keyOf({ connection, number }: { connection: number; number: number }): string {
  return `${connection}.${number}`;
}
