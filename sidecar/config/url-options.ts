/** `[storage.url_options."<URL as written>"]`: what the SDK of one URL is told. Never secrets, which may stand in no file that we read. */
import type { UrlOptions } from './configuration.ts';
import { urlOptionKeys, urlOptionsKey } from './keys.ts';
import { closest, maskUrl } from './problem.ts';
import type { StorageUrl } from './storage-url.ts';
import type { TableReader } from './table.ts';

type OptionKey = keyof typeof urlOptionKeys;

const objectStores: readonly StorageUrl['scheme'][] = ['s3', 'adls', 'gcs'];
const schemesOfOption: Readonly<Record<OptionKey, readonly StorageUrl['scheme'][]>> = {
  endpoint: objectStores,
  region: ['s3'],
  force_path_style: ['s3'],
  credentials_dir: objectStores,
};

/** A URL may lie this many edits from a key to be suggested, and a quarter of the key: a slash, a letter, a scheme. */
const suggestionDistance = 6;

/**
 * The options by URL as written.
 * @param written every URL of the file as written, also those that do not hold
 * @param urls those that hold
 */
export function readUrlOptions(
  storage: TableReader,
  written: readonly string[],
  urls: readonly StorageUrl[],
  newerFile: boolean,
): Map<string, UrlOptions> {
  const options = new Map<string, UrlOptions>();
  const tables = storage.child(urlOptionsKey);
  if (tables === undefined) return options;
  for (const key of Object.keys(tables.table)) {
    if (!written.includes(key)) refuseKey(tables, key, written);
    const table = tables.child(key);
    if (table === undefined) continue;
    options.set(key, readOptions(table, newerFile));
    warnUseless(
      table,
      urls.find((url) => url.written === key),
    );
  }
  return options;
}

function refuseKey(tables: TableReader, key: string, written: readonly string[]): void {
  const near = closest(key, written, Math.min(suggestionDistance, Math.floor(key.length / 4)));
  const remedy =
    near === undefined
      ? `use a URL exactly as it is written in its list, in quotes, before \${} expansion`
      : `did you mean "${maskUrl(near)}"? The key is the URL exactly as written`;
  tables.refuse(key, 'matches no URL of this file', remedy);
}

function readOptions(table: TableReader, newerFile: boolean): UrlOptions {
  table.unknownKeys(Object.keys(urlOptionKeys), { newerFile, valuesHidden: true });
  const endpoint = readText(table, 'endpoint', isEndpoint, 'must be an http:// or https:// address of host and port');
  const region = readText(table, 'region', isRegion, 'must be a region of a-z, 0-9 and -, such as us-west-2');
  const forcePathStyle = table.boolean('force_path_style');
  const credentialsDir = readText(table, 'credentials_dir', isDirectory, 'must be an absolute directory without ..');
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(forcePathStyle === undefined ? {} : { forcePathStyle }),
    ...(credentialsDir === undefined ? {} : { credentialsDir }),
  };
}

const examples: Readonly<Record<Exclude<OptionKey, 'force_path_style'>, string>> = {
  endpoint: 'http://minio:9000',
  region: 'us-west-2',
  credentials_dir: '/etc/walstorage/credentials/wal-s3',
};

/** A text that holds. One that does not is never shown: it may be a secret in the wrong place. */
function readText(
  table: TableReader,
  key: keyof typeof examples,
  holds: (text: string) => boolean,
  rule: string,
): string | undefined {
  if (!table.has(key)) return undefined;
  const value = table.table[key];
  if (typeof value === 'string' && holds(value)) return value;
  return table.refuseHidden(
    key,
    `${rule}, and no secret`,
    `write ${key} = "${examples[key]}"; secrets go into files below credentials_dir`,
  );
}

function isEndpoint(text: string): boolean {
  const url = /^https?:\/\/[^\s@?#\\]+$/.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && text.length <= 1024;
}

function isRegion(text: string): boolean {
  return /^[a-z0-9-]{1,64}$/.test(text);
}

function isDirectory(text: string): boolean {
  return /^\/[^\p{Cc}\p{Cf}\p{Cs}]*$/u.test(text) && text.length <= 1024 && !text.split('/').includes('..');
}

function warnUseless(table: TableReader, url: StorageUrl | undefined): void {
  if (url === undefined) return;
  for (const [key, schemes] of Object.entries(schemesOfOption)) {
    if (table.has(key) && !schemes.includes(url.scheme)) {
      table.warn(key, `has no effect on ${url.scheme}:// URLs`, 'remove it');
    }
  }
}
