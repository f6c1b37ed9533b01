/**
 * Cursors of WAL.LIST and WAL.ASSIGNMENTS. Names are walked in the order of a hash of them; a cursor is the hash to go
 * on from, so nothing is kept between calls, and a name that is there all the while is returned exactly once.
 */
export interface Page<Item> {
  /** Where to go on, `0` at the end. */
  readonly cursor: number;
  readonly items: Item[];
}

/**
 * The items from `cursor` (0 at first) on, `count` of them at least (all that share the last hash come together) unless
 * the end is reached. Costs a pass over all items.
 */
export function page<Item>(
  items: Iterable<Item>,
  nameOf: (item: Item) => string,
  cursor: number,
  count: number,
): Page<Item> {
  const candidates: { hash: number; item: Item }[] = [];
  for (const item of items) {
    const hash = hashOf(nameOf(item));
    if (hash >= cursor) candidates.push({ hash, item });
  }
  candidates.sort((a, b) => a.hash - b.hash);
  const last = candidates[Math.min(count, candidates.length) - 1]?.hash ?? 0;
  const next = candidates.findIndex(({ hash }) => hash > last);
  const end = next < 0 ? candidates.length : next;
  return { cursor: candidates[next]?.hash ?? 0, items: candidates.slice(0, end).map(({ item }) => item) };
}

/** FNV-1a over the UTF-16 units: 1 to 2^32 − 1, since 0 as a cursor means start and end. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return hash >>> 0 || 1;
}
