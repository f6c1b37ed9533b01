/** The configuration as the rest of the program sees it: complete, checked, with defaults filled in. */
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
  /** The other components that the file names. `components` holds `wal` too, as the assignment service sees it. */
  readonly components: ReadonlyMap<Component, ComponentConfiguration>;
  /** By URL as written, before `${}` expansion. */
  readonly urlOptions: ReadonlyMap<string, UrlOptions>;
  /** The operator's version in a rendered file, else undefined. */
  readonly renderedBy: string | undefined;
}
