/**
 * Discovery: what one URL holds, by listing its subdirectories, with or without `_collection.json`: there is no central
 * record. A directory that cannot be listed is an error, never an empty one (R6).
 */

import { isTemporaryName } from '../storage/file.ts';
import { readCollectionFile } from './collection-file.ts';
import type { DirectoryStorage } from './deadline.ts';
import { unescapeDirectory } from './directory-name.ts';

/** `_collection.json` files read at once. */
const readsMax = 16;

/** A collection's directory. */
export interface Found {
  readonly directory: string;
  /** Undefined: a hashed name whose `_collection.json` is absent or damaged. */
  readonly collection: string | undefined;
  /** Of `_collection.json`; undefined where that is absent or damaged. */
  readonly incarnation: string | undefined;
  readonly assignedAt: string | undefined;
  /** Why `_collection.json` cannot be understood. */
  readonly damaged?: string;
}

export interface Discovery {
  readonly collections: Found[];
  /** Names that the escape rule cannot produce (`lost+found`), and what is neither file nor directory: left alone. */
  readonly foreign: string[];
  /** Files that a dead process left in the URL's own directory: safe to remove once the URL is locked. */
  readonly temporary: string[];
}

/** Lists a URL. Storage errors pass through: nothing is known then about what the URL holds. */
export async function discover(storage: DirectoryStorage): Promise<Discovery> {
  const directories: string[] = [];
  const foreign: string[] = [];
  const temporary: string[] = [];
  for (const { name, kind } of await storage.list('')) {
    const what = unescapeDirectory(name).kind;
    if (kind === 'file' && isTemporaryName(name)) temporary.push(name);
    else if (kind === 'directory' && (what === 'collection' || what === 'hashed')) directories.push(name);
    else if (kind !== 'file' && what !== 'system') foreign.push(name);
  }
  const collections: Found[] = [];
  for (let start = 0; start < directories.length; start += readsMax) {
    const some = directories.slice(start, start + readsMax);
    collections.push(...(await Promise.all(some.map((directory) => inspect(storage, directory)))));
  }
  return { collections, foreign, temporary };
}

async function inspect(storage: DirectoryStorage, directory: string): Promise<Found> {
  const stored = await readCollectionFile(storage, directory);
  if (stored.kind === 'present') return { directory, ...stored.file };
  const name = unescapeDirectory(directory);
  const collection = name.kind === 'collection' ? name.collection : undefined;
  const found = { directory, collection, incarnation: undefined, assignedAt: undefined };
  return stored.kind === 'damaged' ? { ...found, damaged: stored.reason } : found;
}
