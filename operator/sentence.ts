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
