/**
 * Verification: what the configured directories hold, and whether it is whole. Nothing is written or locked, so it runs
 * beside a sidecar at work.
 *
 *   directory.ts   one URL: can it be listed, its `_url.json`, its collections, names that are nobody's
 *   journal.ts     one WAL URL's journal: damage, an unclean end, what its frames and records say
 *   segments.ts    one WAL URL's segments: every byte against its checksum, every entry against its place
 *   sequences.ts   all WAL URLs together: each collection's sequences without a gap, one incarnation a name
 *
 * A finding is `wrong` when something is lost, damaged, unreadable or contradictory, and a `note` when a sidecar puts it
 * right by itself or leaves it alone. A URL that cannot be read is wrong, never empty (R6).
 *
 * A sidecar at work changes things while they are read: a file may go between its listing and its reading. So where
 * something looks wrong all is read a second time, and wrong is what looks so both times.
 */
import type { Component } from '../assignment/assignment.ts';
import { judge } from '../assignment/membership.ts';
import type { Configuration } from '../config/configuration.ts';
import type { StorageUrl } from '../config/storage-url.ts';
import type { Storage } from '../storage/storage.ts';
import { countFiles, type DirectoryView, viewDirectory } from './directory.ts';
import type { Finding } from './finding.ts';
import { verifyJournal } from './journal.ts';
import { verifySegments } from './segments.ts';
import { Sequences } from './sequences.ts';

export interface Holdings {
  /** Directories of collections. */
  readonly collections: number;
  /** wal: segments that count. Others: files below the collections' directories. */
  readonly files: number;
  /** Of those files. */
  readonly bytes: number;
  /** wal only: entries in segments. */
  readonly entries: number;
  /** wal only. */
  readonly journalFiles: number;
  readonly journalBytes: number;
}

export interface DirectoryReport extends Holdings {
  /** Its place in the component's list, from 0. */
  readonly index: number;
  readonly url: string;
  /** `absent`: no sidecar has made it yet. */
  readonly state: 'read' | 'absent' | 'unread';
  /** Of its `_url.json`. */
  readonly id: string | undefined;
}

export interface ComponentReport {
  readonly component: Component;
  readonly directories: readonly DirectoryReport[];
  readonly total: Holdings;
}

export interface Verification {
  readonly components: readonly ComponentReport[];
  readonly findings: readonly Finding[];
}

/**
 * Verifies every directory of a configuration. Never rejects for what storage does: that is a finding.
 * @param openStorage gives the storage of a URL, or undefined where this version has none for its scheme
 */
export async function verifyStorage(
  configuration: Configuration,
  openStorage: (url: StorageUrl) => Storage | undefined,
): Promise<Verification> {
  const first = await verifyOnce(configuration, openStorage);
  if (!first.findings.some(isWrong)) return first;
  const second = await verifyOnce(configuration, openStorage);
  const before = new Set(first.findings.map(fingerprint));
  return { ...second, findings: second.findings.filter((found) => !isWrong(found) || before.has(fingerprint(found))) };
}

function isWrong(finding: Finding): boolean {
  return finding.level === 'wrong';
}

function fingerprint({ where, problem }: Finding): string {
  return `${where}\0${problem}`;
}

async function verifyOnce(
  configuration: Configuration,
  openStorage: (url: StorageUrl) => Storage | undefined,
): Promise<Verification> {
  const findings: Finding[] = [];
  const components: ComponentReport[] = [];
  for (const [component, { urls }] of configuration.components) {
    const storages = urls.map(openStorage);
    try {
      const views = await Promise.all(urls.map(({ url }, index) => viewDirectory(url, storages[index], findings)));
      judgeKnownUrls(component, views, findings);
      const directories = component === 'wal' ? await verifyWal(views, findings) : await verifyOther(views, findings);
      components.push({ component, directories, total: total(directories) });
    } finally {
      await Promise.all(storages.flatMap((storage) => storage?.close() ?? []));
    }
  }
  return { components, findings };
}

/** E25–E27: whether each URL is the one that the others know, and none is missing from the configuration. */
function judgeKnownUrls(component: Component, views: readonly DirectoryView[], findings: Finding[]): void {
  const judgement = judge(component, views);
  for (const [index, verdict] of judgement.verdicts.entries()) {
    if (!['missing', 'forgotten', 'refused'].includes(verdict.kind)) continue;
    findings.push({ level: 'wrong', where: views[index]?.url ?? '', problem: verdict.reason, remedy: '' });
  }
  for (const { id, url } of judgement.removed) {
    findings.push({
      level: 'wrong',
      where: url,
      problem: `holds collections (its id is ${id}), and is configured no longer`,
      remedy: 'configure it again, or give it up with walstorage forget',
    });
  }
}

async function verifyWal(views: readonly DirectoryView[], findings: Finding[]): Promise<DirectoryReport[]> {
  const sequences = new Sequences();
  // Journals first: a flush moves entries from there to segments, and what was dropped stands there.
  const journals = await Promise.all(views.map((view) => verifyJournal(view, sequences, findings)));
  const segments = await Promise.all(views.map((view) => verifySegments(view, sequences, findings)));
  findings.push(...sequences.findings());
  return views.map((view, index) => report(view, index, { ...journals[index], ...segments[index] }));
}

async function verifyOther(views: readonly DirectoryView[], findings: Finding[]): Promise<DirectoryReport[]> {
  const homes = new Map<string, string>();
  for (const { url, collections } of views) {
    for (const { collection } of collections) {
      if (collection === undefined) continue;
      const home = homes.get(collection);
      if (home === undefined) homes.set(collection, url);
      else findings.push(twice(collection, home, url));
    }
  }
  const counts = await Promise.all(views.map((view) => countFiles(view, findings)));
  return views.map((view, index) => report(view, index, counts[index] ?? {}));
}

/** E23 */
function twice(collection: string, home: string, url: string): Finding {
  return {
    level: 'wrong',
    where: url,
    problem: `holds a directory of the collection ${JSON.stringify(collection)}, whose home is ${home}`,
    remedy: 'move what is needed there, and remove the second directory',
  };
}

const nothing: Holdings = { collections: 0, files: 0, bytes: 0, entries: 0, journalFiles: 0, journalBytes: 0 };

function report(view: DirectoryView, index: number, counts: Partial<Holdings>): DirectoryReport {
  const { url, state, content, collections } = view;
  const id = content.kind === 'file' ? content.file.id : undefined;
  return { index, url, state, id, ...nothing, ...counts, collections: collections.length };
}

function total(directories: readonly DirectoryReport[]): Holdings {
  const sum: { -readonly [Key in keyof Holdings]: number } = { ...nothing };
  for (const directory of directories) {
    sum.collections += directory.collections;
    sum.files += directory.files;
    sum.bytes += directory.bytes;
    sum.entries += directory.entries;
    sum.journalFiles += directory.journalFiles;
    sum.journalBytes += directory.journalBytes;
  }
  return sum;
}
