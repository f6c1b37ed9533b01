/**
 * Files and directories of the simulated file system, each with two states: what programs see, and what the disk has.
 *
 * A file: bytes and length as seen; bytes and length on the disk; the 4 KiB blocks that differ because they were not
 * synced; the lengths it passed through since its last sync. A power cut keeps or loses each unsynced block by itself
 * (lost: what the disk had, zeros if it had nothing) and leaves any of those lengths.
 *
 * A directory: its names as seen; its names on the disk; the unsynced changes in their order. A power cut carries out
 * any subset of them. A kept change is whole: a renamed file never bears two names or, unless removed, none.
 */
import type { Random } from './random.ts';

export const blockBytes = 4096;

export type SimulatedNode = SimulatedFile | SimulatedDirectory;

export class SimulatedFile {
  readonly kind = 'file';
  #seen = new Uint8Array(0);
  #length = 0;
  #disk = new Uint8Array(0);
  #diskLength = 0;
  readonly #unsyncedBlocks = new Set<number>();
  /** Lengths since the last sync; empty if the disk has the length that is seen. */
  readonly #passedLengths = new Set<number>();

  get length(): number {
    return this.#length;
  }

  /** A copy, so that a reader never sees later writes. */
  read(offset: number, length: number): Buffer {
    return Buffer.from(this.#seen.subarray(offset, Math.min(offset + length, this.#length)));
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    this.#seen = grown(this.#seen, end);
    this.#seen.set(bytes, position);
    for (const block of blocksOf(position, end)) this.#unsyncedBlocks.add(block);
    if (end > this.#length) this.#setLength(end);
  }

  truncate(length: number): void {
    this.#seen = grown(this.#seen, length);
    this.#seen.fill(0, length);
    for (const block of blocksOf(Math.min(length, this.#length), this.#length)) this.#unsyncedBlocks.add(block);
    this.#setLength(length);
  }

  /** Everything seen is on the disk. */
  sync(): void {
    for (const block of this.#unsyncedBlocks) this.#copyToDisk(block);
    this.#unsyncedBlocks.clear();
    this.#syncLength();
  }

  /** One written range and the length are on the disk; unsynced blocks elsewhere stay so. */
  syncRange(position: number, end: number): void {
    for (const block of blocksOf(position, end)) {
      if (this.#unsyncedBlocks.delete(block)) this.#copyToDisk(block);
    }
    this.#syncLength();
  }

  /** As Linux does: what could not be written counts as clean, is still seen, and no later sync will write it. */
  failSync(): void {
    this.#unsyncedBlocks.clear();
  }

  /** This file as it may be after a power cut. */
  afterCrash(random: Random): SimulatedFile {
    const length = this.#lengthAfterCrash(random);
    const content = grown(this.#disk.slice(0, length), length);
    for (const block of this.#unsyncedBlocks) {
      const start = block * blockBytes;
      if (start >= length || random.coin()) continue;
      content.set(this.#seen.subarray(start, Math.min(start + blockBytes, length)), start);
    }
    const after = new SimulatedFile();
    after.write(content.subarray(0, length), 0);
    after.sync();
    return after;
  }

  #lengthAfterCrash(random: Random): number {
    const lengths = [this.#diskLength, ...this.#passedLengths];
    const longest = lengths.reduce((one, other) => Math.max(one, other));
    const shortest = lengths.reduce((one, other) => Math.min(one, other));
    // A long write may have been cut off at any page.
    const page =
      (Math.floor(shortest / blockBytes) + 1 + random.below(1 + (longest - shortest) / blockBytes)) * blockBytes;
    if (page > shortest && page < longest) lengths.push(page);
    return lengths[random.below(lengths.length)] ?? this.#diskLength;
  }

  #setLength(length: number): void {
    this.#length = length;
    this.#passedLengths.add(length);
  }

  #syncLength(): void {
    this.#disk = grown(this.#disk, this.#length);
    this.#disk.fill(0, this.#length);
    this.#diskLength = this.#length;
    this.#passedLengths.clear();
  }

  #copyToDisk(block: number): void {
    const start = block * blockBytes;
    const end = Math.min(start + blockBytes, this.#length);
    if (start >= end) return;
    this.#disk = grown(this.#disk, end);
    this.#disk.set(this.#seen.subarray(start, end), start);
  }
}

interface NameChange {
  readonly name: string;
  /** What bears the name from now on, or what bore it if `removed`. */
  readonly node: SimulatedNode;
  readonly removed: boolean;
}

export class SimulatedDirectory {
  readonly kind = 'directory';
  readonly #seen = new Map<string, SimulatedNode>();
  #disk = new Map<string, SimulatedNode>();
  readonly #unsynced: NameChange[] = [];

  get names(): string[] {
    return [...this.#seen.keys()].toSorted();
  }

  get(name: string): SimulatedNode | undefined {
    return this.#seen.get(name);
  }

  add(name: string, node: SimulatedNode): void {
    this.#seen.set(name, node);
    this.#unsynced.push({ name, node, removed: false });
  }

  remove(name: string, node: SimulatedNode): void {
    this.#seen.delete(name);
    this.#unsynced.push({ name, node, removed: true });
  }

  rename(from: string, to: string, node: SimulatedNode): void {
    this.#seen.delete(from);
    this.add(to, node);
  }

  sync(): void {
    this.#disk = new Map(this.#seen);
    this.#unsynced.length = 0;
  }

  /** This directory and what is below it, as they may be after a power cut. */
  afterCrash(random: Random): SimulatedDirectory {
    const names = new Map(this.#disk);
    for (const change of this.#unsynced) {
      if (random.coin()) applyChange(names, change);
    }
    const after = new SimulatedDirectory();
    for (const [name, node] of names) after.add(name, node.afterCrash(random));
    after.sync();
    return after;
  }
}

/** Carries out one change on the disk's names, among which an earlier change of the same node may be missing. */
function applyChange(names: Map<string, SimulatedNode>, { name, node, removed }: NameChange): void {
  for (const [other, bearer] of names) {
    if (bearer === node) names.delete(other);
  }
  if (!removed) names.set(name, node);
}

function blocksOf(start: number, end: number): number[] {
  const first = Math.floor(start / blockBytes);
  const count = end > start ? Math.ceil(end / blockBytes) - first : 0;
  return Array.from({ length: count }, (_, index) => first + index);
}

/** The bytes, or a copy with room for `length`, zeros after the content. */
function grown(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  if (bytes.length >= length) return bytes;
  const larger = new Uint8Array(Math.max(length, bytes.length * 2));
  larger.set(bytes);
  return larger;
}
