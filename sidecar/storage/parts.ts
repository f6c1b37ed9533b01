/** Lists of buffers that are written as one: `writev` takes them so, without a copy. */

/** What follows the first `bytes` of the parts; no part of it is empty. */
export function partsFrom(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  return parts.flatMap((part) => {
    const skipped = Math.min(skip, part.length);
    skip -= skipped;
    return skipped < part.length ? [part.subarray(skipped)] : [];
  });
}

/** All bytes of the parts, one part after the other, at the beginning of `target`. */
export function copyParts(parts: readonly Uint8Array[], target: Uint8Array): void {
  let end = 0;
  for (const part of parts) {
    target.set(part, end);
    end += part.length;
  }
}

/** Bytes in all parts. */
export function partsBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
