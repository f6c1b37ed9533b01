/** The names that stand in the configuration file, and the fields that they become. */
import type { Component } from '../assignment/assignment.ts';
import type { UrlOptions, WalConfiguration } from './configuration.ts';

export interface ComponentSection {
  readonly component: Component;
  /** The table in [storage]. */
  readonly section: string;
  /** The key of its list of URLs. */
  readonly urlsKey: string;
}

export const walSection: ComponentSection = { component: 'wal', section: 'wal_config', urlsKey: 'wal_urls' };

export const componentSections: readonly ComponentSection[] = [
  walSection,
  { component: 'viper', section: 'viper_config', urlsKey: 'data_urls' },
  { component: 'lsm', section: 'lsm_config', urlsKey: 'storage_urls' },
  { component: 'index', section: 'index_config', urlsKey: 'index_urls' },
  { component: 'metadata', section: 'metadata_config', urlsKey: 'metadata_urls' },
];

/** Keys that every component's section takes, besides its list of URLs. */
export const strategyKey = 'distribution_strategy';
export const affinityKey = 'collection_affinity';

/** Keys that only the WAL's section takes. */
export const walKeys = {
  memory_flush_size_bytes: 'memoryFlushSizeBytes',
  global_flush_threshold: 'globalFlushThresholdBytes',
  sync_mode: 'syncMode',
  sync_interval_ms: 'syncIntervalMs',
  linger_ms: 'lingerMs',
  compression: 'compression',
} as const satisfies Record<string, keyof WalConfiguration>;

/** Keys of a component's section that a later version will take. */
export const reservedKeys: readonly string[] = ['failover', 'mirrors', 'draining_urls'];

export const urlOptionKeys = {
  endpoint: 'endpoint',
  region: 'region',
  force_path_style: 'forcePathStyle',
  credentials_dir: 'credentialsDir',
} as const satisfies Record<string, keyof UrlOptions>;

export const urlOptionsKey = 'url_options';
export const legacyDirectoryKey = 'wal_dir';
export const renderedByKey = 'rendered_by';
