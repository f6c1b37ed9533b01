/**
 * The text, cut to at most so many bytes of UTF-8 where it is longer, with `…` at the end then. Never inside a character:
 * what the API server stores must be what was sent, else it would be sent again and again.
 */
export function shortened(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return text;
  const end = '…';
  let length = bytesMax - Buffer.byteLength(end);
  while (length > 0 && ((bytes[length] ?? 0) & 0xc0) === 0x80) length -= 1;
  return `${bytes.subarray(0, length).toString()}${end}`;
}
