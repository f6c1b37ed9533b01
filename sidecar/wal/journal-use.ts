/**
 * What keeps a journal file from being freed: the highest sequence of each collection in it, until that is flushed, trimmed
 * or dropped; and the drop records in it, until the storage of what they dropped is gone (E9, E12).
 */
import type { Collection } from './collection.ts';

interface DropInForce {
  readonly name: string;
  file: number;
}

export class JournalUse {
  readonly #lastByFile = new Map<number, Map<Collection, number>>();
  /** By incarnation. */
  readonly drops = new Map<string, DropInForce>();

  /** The file holds entries of these collections, up to these sequences. */
  note(file: number, ranges: Iterable<{ readonly collection: Collection; readonly last: number }>): void {
    let noted = this.#lastByFile.get(file);
    if (noted === undefined) {
      noted = new Map();
      this.#lastByFile.set(file, noted);
    }
    for (const { collection, last } of ranges) noted.set(collection, last);
  }

  /**
   * The collections that still need the file for entries that stand nowhere else. A damaged one needs none: nothing of it is
   * flushed or read until a repair, and the files in which its damage was found are set aside (E21).
   */
  *needing(file: number): Generator<Collection> {
    const noted = this.#lastByFile.get(file);
    if (noted === undefined) return;
    for (const [collection, last] of noted) {
      if (!collection.isDropped && collection.damage === '' && collection.flushed < last) yield collection;
      else noted.delete(collection);
    }
  }

  forget(file: number): void {
    this.#lastByFile.delete(file);
  }

  clear(): void {
    this.#lastByFile.clear();
  }
}
