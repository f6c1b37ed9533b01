/**
 * Reading Avro's binary encoding out of a buffer that may hold anything: every function throws RangeError, and never
 * loops or allocates, when a value doesn't end within its source (avsc's own decoders trust their input).
 */

/** No long is longer: 64 bits in groups of seven. */
const longBytesMax = 10;

/** Where the long at `at` ends. */
export function skipLong(source: Buffer, at: number): number {
  let end = at;
  while (((source[end] ?? over(at)) & 0x80) !== 0) end++;
  if (end - at >= longBytesMax) over(at);
  return end + 1;
}

/** The zig-zag long at `at`, exact within the safe integers (Avro specification, "Binary encoding"), and where it ends. */
export function readLong(source: Buffer, at: number): { value: number; end: number } {
  let byte = source[at] ?? over(at);
  const isNegative = (byte & 1) === 1;
  let magnitude = (byte & 0x7f) >> 1;
  let scale = 64;
  let end = at + 1;
  while ((byte & 0x80) !== 0) {
    byte = source[end++] ?? over(at);
    magnitude += (byte & 0x7f) * scale;
    scale *= 128;
  }
  if (end - at > longBytesMax) over(at);
  return { value: isNegative ? -magnitude - 1 : magnitude, end };
}

/** The bytes or string at `at`, as a view, and where they end. */
export function readBytes(source: Buffer, at: number): { value: Buffer; end: number } {
  const length = readLong(source, at);
  const end = length.end + length.value;
  if (length.value < 0 || end > source.length) throw new RangeError(`a value at ${at} runs over the end of its source`);
  return { value: source.subarray(length.end, end), end };
}

function over(at: number): never {
  throw new RangeError(`a value at ${at} runs over the end of its source, or has no end`);
}
