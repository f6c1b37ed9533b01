/** Parts of sentences for people. */

/** How many names a message lists before it only counts. */
const namesShown = 5;

/** `1 pod`, `2 pods`. */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** The first five names; of the rest their number. */
export function list(names: readonly string[]): string {
  const more = names.length - namesShown;
  return names.slice(0, namesShown).join(', ') + (more > 0 ? `, and ${more} more` : '');
}

/** Without the full stop at its end: what others say, to be quoted inside a sentence of ours. */
export function unended(text: string): string {
  return text.trim().replace(/\.$/, '');
}

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
