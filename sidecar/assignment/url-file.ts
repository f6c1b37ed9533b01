/**
 * `_url.json` (interfaces, section 4): a URL's stable id, and the ids and URLs of its component's other URLs that hold
 * something (E25). Replaced atomically.
 */
import { systemCode, WalError } from '../errors.ts';
import { type Component, components } from './assignment.ts';
import type { DirectoryStorage } from './deadline.ts';
import { isJsonObject, parseJsonObject } from './json-object.ts';

export const urlFileName = '_url.json';

/** A URL that holds, or is about to hold, collections. */
export interface NamedUrl {
  readonly id: string;
  /** Where it was last seen. */
  readonly url: string;
}

export interface UrlFile {
  /** 32 hex digits. */
  readonly id: string;
  readonly component: Component;
  /** Recorded before the first collection moved, never cleared (E26). */
  readonly affinityWasFalse: boolean;
  readonly others: readonly NamedUrl[];
  /** Ids that were given up: never read or written again (E27). */
  readonly forgotten: readonly string[];
}

/** The URL's file, or undefined when there is none. DAMAGED when it cannot be understood; storage errors pass through. */
export async function readUrlFile(storage: DirectoryStorage): Promise<UrlFile | undefined> {
  let content: Buffer;
  try {
    content = await storage.read(urlFileName);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  return parseUrlFile(content, `${storage.url}/${urlFileName}`);
}

/** Replaces the URL's file, durably. */
export async function writeUrlFile(storage: DirectoryStorage, file: UrlFile): Promise<void> {
  const { id, component, affinityWasFalse, others, forgotten } = file;
  const content = { id, component, affinity_was_false: affinityWasFalse, others, forgotten };
  await storage.publish(urlFileName, [Buffer.from(`${JSON.stringify(content, undefined, 2)}\n`)]);
}

/** The file's content understood; `where` names it in errors. */
export function parseUrlFile(content: Buffer, where: string): UrlFile {
  const value = parseJsonObject(content);
  if (value === undefined) throw damaged(where, 'it is no JSON object');
  const { id, component, affinity_was_false: affinityWasFalse, others, forgotten } = value;
  const known = components.find((name) => name === component);
  if (!isId(id)) throw damaged(where, '"id" is not 32 hex digits');
  if (known === undefined) throw damaged(where, `"component" is none of ${components.join(', ')}`);
  if (typeof affinityWasFalse !== 'boolean') throw damaged(where, '"affinity_was_false" is neither true nor false');
  if (!Array.isArray(others) || !others.every(isNamedUrl)) throw damaged(where, '"others" is no list of {"id", "url"}');
  if (!Array.isArray(forgotten) || !forgotten.every(isId)) throw damaged(where, '"forgotten" is no list of ids');
  return {
    id,
    component: known,
    affinityWasFalse,
    others: others.map((other) => ({ id: other.id, url: other.url })),
    forgotten,
  };
}

function damaged(where: string, problem: string): WalError {
  return new WalError('DAMAGED', `${where} is damaged (${problem}): restore it from a copy.`);
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
}

function isNamedUrl(value: unknown): value is NamedUrl {
  return isJsonObject(value) && isId(value['id']) && typeof value['url'] === 'string';
}
