/**
 * `_collection.json` in a collection's directory: its full name, its incarnation and when it was assigned
 * (interfaces, section 4). Made durable before the first reply; the URL is locked by this process (E28), so reading
 * and then writing is creation if absent. A file that cannot be understood is damaged, never absent.
 */
import { systemCode, WalError } from '../errors.ts';
import type { DirectoryStorage } from './deadline.ts';
import { escapeCollection } from './directory-name.ts';
import { parseJsonObject } from './json-object.ts';

export const collectionFileName = '_collection.json';

export interface CollectionFile {
  readonly collection: string;
  /** 32 hex digits. */
  readonly incarnation: string;
  /** RFC 3339, UTC. */
  readonly assignedAt: string;
}

export type StoredCollectionFile =
  | { readonly kind: 'present'; readonly file: CollectionFile }
  | { readonly kind: 'absent' }
  | { readonly kind: 'damaged'; readonly reason: string };

/** What stands in a collection's directory. Storage errors other than absence pass through. */
export async function readCollectionFile(storage: DirectoryStorage, directory: string): Promise<StoredCollectionFile> {
  const path = `${directory}/${collectionFileName}`;
  try {
    return parseCollectionFile(await storage.read(path), directory, `${storage.url}/${path}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { kind: 'absent' };
    throw error;
  }
}

/** The file's content understood; `where` names it in the reason of a damaged one. */
export function parseCollectionFile(content: Buffer, directory: string, where: string): StoredCollectionFile {
  const damaged = (problem: string): StoredCollectionFile => ({
    kind: 'damaged',
    reason: `${where} ${problem}: restore the file, or drop the collection.`,
  });
  const value = parseJsonObject(content);
  if (value === undefined) return damaged('is no JSON object');
  const { collection, incarnation, assigned_at: assignedAt } = value;
  if (typeof collection !== 'string') return damaged('has no "collection"');
  if (escapeCollection(collection) !== directory) {
    return damaged(
      `names the collection ${JSON.stringify(collection)}, which belongs into ${escapeCollection(collection)}`,
    );
  }
  if (typeof incarnation !== 'string' || !/^[0-9a-f]{32}$/.test(incarnation)) {
    return damaged('has no "incarnation" of 32 hex digits');
  }
  if (typeof assignedAt !== 'string' || Number.isNaN(Date.parse(assignedAt)))
    return damaged('has no "assigned_at" time');
  return { kind: 'present', file: { collection, incarnation, assignedAt } };
}

/**
 * Makes the collection's directory and file durable, if absent, and returns the content in force: the one given, or
 * the one that an earlier attempt with an unknown outcome left (E14). DAMAGED when what stands there cannot be understood.
 */
export async function createCollectionFile(storage: DirectoryStorage, file: CollectionFile): Promise<CollectionFile> {
  const directory = escapeCollection(file.collection);
  await createDirectory(storage, directory);
  const stored = await readCollectionFile(storage, directory);
  if (stored.kind === 'damaged') throw new WalError('DAMAGED', stored.reason);
  if (stored.kind === 'absent') {
    await storage.publish(`${directory}/${collectionFileName}`, [encodeCollectionFile(file)]);
    return file;
  }
  // It was seen, but only a sync proves that it is on the disk (E17).
  await storage.syncDirectory(directory);
  return stored.file;
}

/** DAMAGED where something else has the directory's name: that is in the way of this collection alone. */
async function createDirectory(storage: DirectoryStorage, directory: string): Promise<void> {
  try {
    await storage.createDirectory(directory);
  } catch (error) {
    if (systemCode(error) !== 'ENOTDIR') throw error;
    const found = (await storage.list('')).find(({ name }) => name === directory);
    if (found === undefined || found.kind === 'directory') throw error;
    const inTheWay = `${storage.url}/${directory} is in the way of the collection's directory, and is none`;
    throw new WalError('DAMAGED', `${inTheWay}: move it away.`, { cause: error });
  }
}

function encodeCollectionFile(file: CollectionFile): Buffer {
  const { collection, incarnation, assignedAt } = file;
  return Buffer.from(`${JSON.stringify({ collection, incarnation, assigned_at: assignedAt })}\n`);
}
