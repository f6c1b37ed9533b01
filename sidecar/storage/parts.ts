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

/**
 * The same bytes in parts that another thread can be given: views of shared memory as they are, each row of others
 * copied into one part with memory of its own (sending a view would send all the memory it lies in).
 */
export function sendableParts(parts: readonly Uint8Array[]): Uint8Array[] {
  const sendable: Uint8Array[] = [];
  let row: Uint8Array[] = [];
  const endRow = () => {
    if (row.length > 0) sendable.push(joined(row));
    row = [];
  };
  for (const part of parts) {
    if (part.buffer instanceof SharedArrayBuffer) {
      endRow();
      sendable.push(part);
    } else row.push(part);
  }
  endRow();
  return sendable;
}

/** The memory to hand over with `sendableParts`. */
export function ownMemory(parts: readonly Uint8Array[]): ArrayBuffer[] {
  return parts.map((part) => part.buffer).filter((buffer) => buffer instanceof ArrayBuffer);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}
