/** One URL, as its own directory shows it: whether it can be listed, its `_url.json`, its collections, foreign names. */
import { within } from '../assignment/deadline.ts';
import { discover, type Found } from '../assignment/discovery.ts';
import type { Observation } from '../assignment/membership.ts';
import { readUrlFile } from '../assignment/url-file.ts';
import { systemCode } from '../errors.ts';
import { isTemporaryName } from '../storage/file.ts';
import type { Storage } from '../storage/storage.ts';
import type { Finding } from './finding.ts';

/** A mount that says nothing for so long hangs. */
const listLimitMs = 30_000;
/** So many names stand in a finding; of the others the number. */
const namesShownMax = 5;

export interface DirectoryView extends Observation {
  readonly state: 'read' | 'absent' | 'unread';
  /** There where the state is `read`. */
  readonly storage: Storage | undefined;
  readonly collections: readonly Found[];
}

/** Looks at a URL. What cannot be read is a finding. */
export async function viewDirectory(
  url: string,
  storage: Storage | undefined,
  findings: Finding[],
): Promise<DirectoryView> {
  const unread = (reason: string): DirectoryView => {
    const content = { kind: 'unread', reason } as const;
    return { url, state: 'unread', storage: undefined, content, collections: [] };
  };
  if (storage === undefined) {
    const problem = 'is on an object store, which this version does not read yet';
    findings.push({ level: 'wrong', where: url, problem, remedy: 'use file:// URLs until it does' });
    return unread(problem);
  }
  try {
    const entries = await within(listLimitMs, `Listing ${url}`, storage.list(''));
    const leftovers = entries.filter(({ name }) => isTemporaryName(name)).map(({ name }) => name);
    noteLeftovers(url, leftovers, findings);
    const { collections, foreign, temporary } = await discover(storage);
    noteNames(url, foreign, temporary, findings);
    for (const { directory, damaged } of collections) {
      if (damaged === undefined) continue;
      findings.push({ level: 'wrong', where: `${url}/${directory}`, problem: damaged, remedy: '' });
    }
    const content = await readContent(url, storage, findings);
    if (content.kind === 'none' && collections.length > 0) noteMissingUrlFile(url, collections.length, findings);
    return { url, state: 'read', storage, content, collections };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return absent(url, findings);
    const reason = error instanceof Error ? error.message : String(error);
    const remedy = 'mount it, or give this user the right to read it';
    const problem = `cannot be listed, so nothing is known of what it holds: ${reason}`;
    findings.push({ level: 'wrong', where: url, problem, remedy });
    return unread(reason);
  }
}

function absent(url: string, findings: Finding[]): DirectoryView {
  const remedy = 'nothing to do, if no sidecar has used it; else mount it';
  findings.push({ level: 'note', where: url, problem: 'does not exist yet: a sidecar makes it', remedy });
  return { url, state: 'absent', storage: undefined, content: { kind: 'none' }, collections: [] };
}

async function readContent(url: string, storage: Storage, findings: Finding[]): Promise<Observation['content']> {
  try {
    const file = await readUrlFile(storage);
    return file === undefined ? { kind: 'none' } : { kind: 'file', file };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    findings.push({ level: 'wrong', where: url, problem: reason, remedy: '' });
    return { kind: 'unread', reason };
  }
}

function noteMissingUrlFile(url: string, collections: number, findings: Finding[]): void {
  const problem = `holds collections (${collections}), but no _url.json`;
  const remedy = 'make sure that it is the right directory: the next sidecar takes it as it is, and gives it an id';
  findings.push({ level: 'note', where: url, problem, remedy });
}

/** Notes what interrupted writes left in a directory, given by its full URL. */
export function noteLeftovers(where: string, names: readonly string[], findings: Finding[]): void {
  if (names.length === 0) return;
  const problem = `holds temporary files of writes that are under way or were interrupted: ${list(names)}`;
  const remedy = 'nothing to do: they count for nothing, and a sidecar removes what is left of them when it starts';
  findings.push({ level: 'note', where, problem, remedy });
}

function noteNames(url: string, foreign: readonly string[], temporary: readonly string[], findings: Finding[]): void {
  if (foreign.length > 0) {
    const problem = `holds what is no collection of ours and is left alone: ${list(foreign)}`;
    const remedy = 'nothing to do, if it belongs there; no collection is stored under such a name';
    findings.push({ level: 'note', where: url, problem, remedy });
  }
  if (temporary.length > 0) {
    const problem = `holds directories under names of the system: ${list(temporary)}`;
    findings.push({ level: 'note', where: url, problem, remedy: 'nothing to do: they are no collections' });
  }
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, namesShownMax).map((name) => JSON.stringify(name));
  const more = names.length > namesShownMax ? [`${names.length - namesShownMax} more`] : [];
  return [...shown, ...more].join(', ');
}

/** Files and bytes below the directories of collections, `_collection.json` and temporary files left out. */
export async function countFiles(view: DirectoryView, findings: Finding[]): Promise<{ files: number; bytes: number }> {
  const { url, storage, collections } = view;
  let files = 0;
  let bytes = 0;
  if (storage === undefined) return { files, bytes };
  const left = collections.map(({ directory }) => directory);
  for (let directory = left.pop(); directory !== undefined; directory = left.pop()) {
    try {
      for (const { name, kind } of await storage.list(directory)) {
        if (kind === 'directory') left.push(`${directory}/${name}`);
      }
      for (const file of await storage.listFiles(directory)) {
        if (isTemporaryName(file.name) || file.name === '_collection.json') continue;
        files += 1;
        bytes += file.bytes;
      }
    } catch (error) {
      if (systemCode(error) === 'ENOENT') continue;
      findings.push(unlisted(`${url}/${directory}`, error));
    }
  }
  return { files, bytes };
}

/** R6: a directory that cannot be listed is not an empty one. */
export function unlisted(where: string, error: unknown): Finding {
  const reason = error instanceof Error ? error.message : String(error);
  const problem = `cannot be listed, so nothing is known of what it holds: ${reason}`;
  return { level: 'wrong', where, problem, remedy: 'give this user the right to read it, and check the disk' };
}
