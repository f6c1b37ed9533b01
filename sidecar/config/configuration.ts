/**
 * The configuration: a TOML file in, one checked value or all of its problems out. This folder alone knows the file:
 * the sidecar and the CLI `load` it, the operator `render`s it.
 *
 *   text ─► parse.ts ─► sections.ts     the tables of [storage], key by key (table.ts reads, problem.ts words)
 *                    ├► storage-url.ts  one URL: expanded, checked, in one canonical form a scheme
 *                    ├► url-lists.ts    the lists of all components: their number, duplicates, one inside another
 *                    └► url-options.ts  [storage.url_options."<URL as written>"]
 *   RenderedConfiguration ─► render.ts ─► text
 *
 * Rules
 * - Every problem is reported at once, with the key's path, its value (shortened, never a secret) and the remedy.
 * - Inside our tables an unknown key is a problem, with a suggestion. Other tables and other keys of [storage] belong to
 *   ProximaDB and are ignored, but for near misses of ours (edit distance 2), which warn. So is a `viper_config`,
 *   `lsm_config`, `index_config` or `metadata_config` that holds no key of ours: ProximaDB has sections of those names.
 * - A file whose first key is `rendered_by` comes from an operator that may be newer: there an unknown key only warns.
 * - URLs are taken literally after `${NAME}` is expanded: no percent-escapes, no query, no `.` or `..`; doubled and
 *   trailing slashes go. An inline credential is a problem wherever it stands.
 *
 * This file holds the result: complete, checked, with defaults filled in.
 */
import type { Component, Strategy } from '../assignment/assignment.ts';
import type { StorageUrl } from './storage-url.ts';

export interface ComponentConfiguration {
  readonly urls: readonly StorageUrl[];
  readonly distributionStrategy: Strategy;
  readonly collectionAffinity: boolean;
}

export const syncModes = ['Always', 'Periodic', 'Never'] as const;
export type SyncMode = (typeof syncModes)[number];

export const compressions = ['none', 'deflate', 'zstd'] as const;
export type Compression = (typeof compressions)[number];

export interface WalConfiguration extends ComponentConfiguration {
  readonly memoryFlushSizeBytes: number;
  readonly globalFlushThresholdBytes: number;
  readonly syncMode: SyncMode;
  readonly syncIntervalMs: number;
  readonly lingerMs: number;
  readonly compression: Compression;
}

/** Options of one URL for the SDK that serves it; never secrets. */
export interface UrlOptions {
  readonly endpoint?: string;
  readonly region?: string;
  readonly forcePathStyle?: boolean;
  readonly credentialsDir?: string;
}

export interface Configuration {
  readonly wal: WalConfiguration;
  /** The components that the file gives URLs, `wal` among them, as the assignment service sees them. */
  readonly components: ReadonlyMap<Component, ComponentConfiguration>;
  /** By URL as written, before `${}` expansion. */
  readonly urlOptions: ReadonlyMap<string, UrlOptions>;
  /** The operator's version in a rendered file, else undefined. */
  readonly renderedBy: string | undefined;
}
