/** Names of journal files: `<epoch>-<number>.journal`, ten digits each, in the URL's `_journal` directory. */
export const journalDirectory = '_journal';

/** Files that held damage keep their content under this prefix (E21). */
export const damagedPrefix = '_damaged-';

export interface JournalFileName {
  readonly name: string;
  readonly epoch: number;
  readonly number: number;
}

export function journalFileName(epoch: number, number: number): string {
  return `${String(epoch).padStart(10, '0')}-${String(number).padStart(10, '0')}.journal`;
}

/** The epoch and number that a name stands for, or undefined if it is no journal file's. */
export function parseJournalFileName(name: string): JournalFileName | undefined {
  const match = /^(\d{10})-(\d{10})\.journal$/.exec(name);
  return match ? { name, epoch: Number(match[1]), number: Number(match[2]) } : undefined;
}
