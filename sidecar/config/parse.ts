/** From the file's text to the checked configuration, or to all of its problems at once. */
import { createReadStream } from 'node:fs';
import { parse as parseToml, TomlError } from 'smol-toml';
import type { Component } from '../assignment/assignment.ts';
import type { ComponentConfiguration, Configuration, WalConfiguration } from './configuration.ts';
import { hashOf } from './hash.ts';
import {
  affinityKey,
  componentSections,
  legacyDirectoryKey,
  renderedByKey,
  urlOptionsKey,
  walSection,
} from './keys.ts';
import { nearMiss, type Problem, pathOfKey, type Report, shorten } from './problem.ts';
import { readComponent, readOtherSection, readWal, readWalSection, type Section } from './sections.ts';
import { TableReader, type TomlTable } from './table.ts';
import { parseUrls, refuseOverlaps } from './url-lists.ts';
import { readUrlOptions } from './url-options.ts';

/** R5: no more of a file is read; a ConfigMap is no larger. */
export const fileBytesMax = 1024 * 1024;

type Environment = Readonly<Record<string, string | undefined>>;

export interface Parsed {
  /** There exactly if there are no problems. */
  readonly configuration?: Configuration;
  /** The key paths of our sections that stand in the file (`storage.wal_config.linger_ms`); all others have defaults. */
  readonly written: ReadonlySet<string>;
  /** Of the file's text: what the sidecar reports and the operator compares (`configHash`). */
  readonly hash: string;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/**
 * Parses a configuration file.
 * @param text the file's text, TOML
 * @param environment where `${NAME}` in URLs is looked up
 */
export function parse(text: string, environment: Environment): Parsed {
  const report: Report = { problems: [], warnings: [] };
  const hash = hashOf(text);
  const document = readDocument(text, report);
  if (document === undefined) return { written: new Set(), hash, ...report };
  const newerFile = isRendered(document);
  const root = new TableReader(document, '', report);
  const renderedBy = newerFile ? readRenderedBy(root) : undefined;
  warnNearMisses(root, ['storage', renderedByKey]);
  const storage = root.child('storage') ?? new TableReader({}, 'storage', report);
  warnNearMisses(storage, [...componentSections.map(({ section }) => section), urlOptionsKey, legacyDirectoryKey]);

  const wal = readWalSection(storage, report, newerFile);
  const others = componentSections
    .filter((section) => section !== walSection)
    .flatMap((section) => readOtherSection(storage, section, report, newerFile) ?? []);
  const read = readComponents(wal, others, environment, report);
  const sections = [wal, ...others];
  const writtenUrls = sections.flatMap((section) => section.written.map((url) => url.written));
  const urls = [...read.components.values()].flatMap((component) => component.urls);
  const urlOptions = readUrlOptions(storage, writtenUrls, urls, newerFile);
  const written = new Set(sections.flatMap(({ table }) => Object.keys(table.table).map((key) => table.keyPath(key))));
  if (report.problems.length > 0) return { written, hash, ...report };
  return { configuration: { ...read, urlOptions, renderedBy }, written, hash, ...report };
}

/**
 * Reads and parses a configuration file. One that cannot be read is a problem like others.
 * @param file its path
 */
export async function load(file: string, environment: Environment): Promise<Parsed> {
  try {
    return parse(await readText(file), environment);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const remedy = 'name a readable TOML file with --config FILE or WALSTORAGE_CONFIG';
    const problem = `the configuration file cannot be read: ${reason}`;
    const problems = [{ keyPath: '', value: shorten(file), problem, remedy }];
    return { written: new Set(), hash: '', problems, warnings: [] };
  }
}

async function readText(file: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const stream: AsyncIterable<Buffer> = createReadStream(file);
  for await (const chunk of stream) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > fileBytesMax) throw new Error(`it has more than ${fileBytesMax} bytes`);
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
}

/** Features that the file may ask for and this version lacks. A process that serves must not start with any. */
export function refuseUnsupported(configuration: Configuration): Problem[] {
  return componentSections
    .filter(({ component }) => configuration.components.get(component)?.collectionAffinity === false)
    .map(({ section }) => ({
      keyPath: `storage.${section}.${affinityKey}`,
      value: 'false',
      problem: 'collections that move between URLs are not supported by this version',
      remedy: `write ${affinityKey} = true, or remove the line`,
    }));
}

/** Integers come as bigint, so that none is rounded and 1.0 can be told from 1. */
function readDocument(text: string, report: Report): TomlTable | undefined {
  try {
    return parseToml(text, { integersAsBigInt: true });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // Below its first line the message quotes the file, in which secrets may stand.
    const reason = message.replace(/\n.*$/s, '').replace(/^Invalid TOML document: /, '');
    const place = error instanceof TomlError ? ` at line ${error.line}, column ${error.column}` : '';
    const remedy = 'correct it there: each key stands once, text in double quotes, each [table] once';
    report.problems.push({ keyPath: '', value: '', problem: `the file is not valid TOML${place}: ${reason}`, remedy });
    return undefined;
  }
}

/** Whether the first key is `rendered_by`. JavaScript puts keys that are whole numbers first, wherever they stood. */
function isRendered(document: TomlTable): boolean {
  return Object.keys(document).find((key) => !/^\d+$/.test(key)) === renderedByKey;
}

function readRenderedBy(root: TableReader): string | undefined {
  const value = root.table[renderedByKey];
  if (typeof value === 'string') return value;
  return root.refuse(renderedByKey, 'must be a string', `write ${renderedByKey} = "<version of the operator>"`);
}

/** Keys of ProximaDB are not ours to judge, but one that is nearly ours is probably misspelt. */
function warnNearMisses(table: TableReader, ours: readonly string[]): void {
  for (const key of Object.keys(table.table)) {
    if (ours.includes(key)) continue;
    const near = nearMiss(key, ours);
    if (near === undefined) continue;
    table.warn(key, 'is not read by us', `did you mean ${pathOfKey(table.path, near)}?`);
  }
}

function readComponents(
  wal: Section,
  others: readonly Section[],
  environment: Environment,
  report: Report,
): { wal: WalConfiguration; components: Map<Component, ComponentConfiguration> } {
  const placed = [wal, ...others].map(({ section, written }) =>
    parseUrls(section.component, written, environment, report),
  );
  refuseOverlaps(placed.flat(), report);
  const [walUrls = [], ...otherUrls] = placed.map((urls) => urls.map(({ url }) => url));
  const walConfiguration = readWal(wal.table, walUrls);
  const components = new Map<Component, ComponentConfiguration>([['wal', walConfiguration]]);
  for (const [index, { section, table }] of others.entries()) {
    components.set(section.component, readComponent(table, otherUrls[index] ?? []));
  }
  return { wal: walConfiguration, components };
}
