/** The other direction: what the operator puts into the ConfigMap, and the sidecar's `parse` reads. */
import { stringify } from 'smol-toml';
import type { Component, Strategy } from '../assignment/assignment.ts';
import type { Compression, SyncMode, UrlOptions } from './configuration.ts';
import {
  affinityKey,
  componentSections,
  renderedByKey,
  strategyKey,
  urlOptionKeys,
  urlOptionsKey,
  walKeys,
} from './keys.ts';

/** One URL as it stands in the file, `${NAME}` unexpanded, and the options of its SDK. */
export interface RenderedUrl {
  readonly url: string;
  readonly options?: UrlOptions;
}

export interface RenderedComponent {
  readonly urls: readonly RenderedUrl[];
  readonly distributionStrategy?: Strategy;
  readonly collectionAffinity?: boolean;
}

export interface RenderedWal extends RenderedComponent {
  readonly memoryFlushSizeBytes?: number;
  readonly globalFlushThresholdBytes?: number;
  readonly syncMode?: SyncMode;
  readonly syncIntervalMs?: number;
  readonly lingerMs?: number;
  readonly compression?: Compression;
}

/** What is to be rendered: only what the user set. What is left out gets the default of the sidecar that reads it. */
export interface RenderedConfiguration {
  /** The operator's version: becomes the file's first key, which makes unknown keys warnings (a newer operator). */
  readonly renderedBy: string;
  readonly wal: RenderedWal;
  readonly viper?: RenderedComponent;
  readonly lsm?: RenderedComponent;
  readonly index?: RenderedComponent;
  readonly metadata?: RenderedComponent;
}

type TomlTable = Record<string, unknown>;

/**
 * The TOML text of a configuration. The same input gives the same bytes; `parse` of it gives back what went in.
 * It renders what it is given: check the text with `parse` before it is published.
 */
export function render(configuration: RenderedConfiguration): string {
  const storage: TomlTable = {};
  const urlOptions: TomlTable = {};
  for (const { component, section, urlsKey } of componentSections) {
    const rendered = configuration[component];
    if (rendered === undefined) continue;
    storage[section] = renderComponent(component, urlsKey, rendered);
    for (const { url, options } of rendered.urls) {
      const table = renderOptions(options);
      if (Object.keys(table).length > 0) urlOptions[url] = table;
    }
  }
  if (Object.keys(urlOptions).length > 0) storage[urlOptionsKey] = urlOptions;
  return stringify({ [renderedByKey]: configuration.renderedBy, storage });
}

function renderComponent(component: Component, urlsKey: string, rendered: RenderedWal): TomlTable {
  const table: TomlTable = { [urlsKey]: rendered.urls.map((entry) => entry.url) };
  if (rendered.distributionStrategy !== undefined) table[strategyKey] = rendered.distributionStrategy;
  if (rendered.collectionAffinity !== undefined) table[affinityKey] = rendered.collectionAffinity;
  if (component !== 'wal') return table;
  for (const [key, field] of Object.entries(walKeys)) {
    if (rendered[field] !== undefined) table[key] = rendered[field];
  }
  return table;
}

function renderOptions(options: UrlOptions | undefined): TomlTable {
  const table: TomlTable = {};
  for (const [key, field] of Object.entries(urlOptionKeys)) {
    if (options?.[field] !== undefined) table[key] = options[field];
  }
  return table;
}
