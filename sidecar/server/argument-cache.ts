/**
 * Arguments that come again and again (`WAL.APPEND`, `INSERT`, `*`, names of collections) as the same Buffer each time:
 * making one costs ten times as much as finding one. A table of fixed size in which a newcomer takes the other's place.
 */
const slotCount = 8192;

/** Longer arguments are not looked for. */
export const cachedBytesMax = 64;

export class ArgumentCache {
  readonly #slots: (Buffer | undefined)[] = Array.from({ length: slotCount });

  /** The bytes of `chunk` from `start` to `end`, at most `cachedBytesMax`, as a Buffer that is not to be written to. */
  slice(chunk: Buffer, start: number, end: number): Buffer {
    let hash = end - start;
    for (let at = start; at < end; at += 1) hash = (Math.imul(hash, 31) + (chunk[at] ?? 0)) | 0;
    const place = (hash ^ (hash >>> 13)) & (slotCount - 1);
    const slot = this.#slots[place];
    if (slot !== undefined && equals(slot, chunk, start, end)) return slot;
    // A copy: a view would keep the whole chunk for as long as it stays here.
    const copy = Buffer.from(chunk.subarray(start, end));
    this.#slots[place] = copy;
    return copy;
  }
}

function equals(slot: Buffer, chunk: Buffer, start: number, end: number): boolean {
  if (slot.length !== end - start) return false;
  for (let at = start; at < end; at += 1) if (slot[at - start] !== chunk[at]) return false;
  return true;
}
