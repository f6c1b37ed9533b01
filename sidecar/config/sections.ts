/** The tables of the components below [storage]: `wal_config` (or the legacy `wal_dir`), `viper_config` and the others. */
import { strategies } from '../assignment/assignment.ts';
import { type ComponentConfiguration, compressions, syncModes, type WalConfiguration } from './configuration.ts';
import {
  affinityKey,
  type ComponentSection,
  legacyDirectoryKey,
  reservedKeys,
  strategyKey,
  walKeys,
  walSection,
} from './keys.ts';
import { nearMiss, type Report } from './problem.ts';
import type { StorageUrl } from './storage-url.ts';
import { TableReader } from './table.ts';
import { readUrlList, type WrittenUrl } from './url-lists.ts';

const mebibyte = 1024 * 1024;
const globalFlushThresholdBytesMin = 128 * mebibyte;
export const globalFlushThresholdBytesDefault = 512 * mebibyte;
/** The threshold holds two flushes of a collection at least: one on its way to storage, one filling. */
const flushesInThreshold = 2;

/** A client waits so long for its reply at most; more than a minute is a mistake. */
const lingerMsMax = 60_000;
/** What is lost at a power cut at most; more than an hour is `Never`. */
const syncIntervalMsMax = 3_600_000;

/** A component that has a section, its table and its URLs as written. */
export interface Section {
  readonly section: ComponentSection;
  /** Empty where legacy `wal_dir` stands in for the WAL's. */
  readonly table: TableReader;
  readonly written: readonly WrittenUrl[];
}

/** The section of the WAL, from `wal_config` or else from `wal_dir`. */
export function readWalSection(storage: TableReader, report: Report, newerFile: boolean): Section {
  const found = storage.child(walSection.section);
  const table = found ?? new TableReader({}, storage.keyPath(walSection.section), report);
  const keys = [walSection.urlsKey, strategyKey, affinityKey, ...Object.keys(walKeys)];
  refuseReservedKeys(table, newerFile);
  table.unknownKeys([...keys, ...knownReserved(table)], { newerFile, valuesHidden: false });
  const isTableMissing = found === undefined && storage.has(walSection.section);
  return { section: walSection, table, written: isTableMissing ? [] : readWalUrls(storage, table, report) };
}

function readWalUrls(storage: TableReader, table: TableReader, report: Report): WrittenUrl[] {
  const { urlsKey } = walSection;
  if (table.has(urlsKey)) {
    if (storage.has(legacyDirectoryKey)) {
      storage.warn(legacyDirectoryKey, `is ignored, since ${table.keyPath(urlsKey)} is there`, 'remove it');
    }
    return readUrlList(table.table[urlsKey], table.keyPath(urlsKey), report);
  }
  if (storage.has(legacyDirectoryKey)) return readLegacyDirectory(storage, table);
  report.problems.push({
    keyPath: table.keyPath(urlsKey),
    value: '',
    problem: 'is missing: nothing says where the log is kept, and there is no built-in directory',
    remedy: `write [${table.path}] and below it ${urlsKey} = ["file:///mnt/nvme1/wal"]`,
  });
  return [];
}

function readLegacyDirectory(storage: TableReader, table: TableReader): WrittenUrl[] {
  const directory = storage.table[legacyDirectoryKey];
  if (typeof directory !== 'string' || !/^(\/|\$\{)/.test(directory)) {
    storage.refuse(
      legacyDirectoryKey,
      'must be an absolute directory',
      `write ${legacyDirectoryKey} = "/data/wal", or better ${table.keyPath(walSection.urlsKey)} = ["file:///data/wal"]`,
    );
    return [];
  }
  const written = `file://${directory}`;
  storage.warn(
    legacyDirectoryKey,
    'is the old form',
    `write [${table.path}] and below it ${walSection.urlsKey} = [${JSON.stringify(written)}]`,
  );
  return [{ keyPath: storage.keyPath(legacyDirectoryKey), written }];
}

/** The section of another component; undefined where there is none, or one that is ProximaDB's own. */
export function readOtherSection(
  storage: TableReader,
  section: ComponentSection,
  report: Report,
  newerFile: boolean,
): Section | undefined {
  const table = storage.child(section.section);
  if (table === undefined) return undefined;
  const keys = [section.urlsKey, strategyKey, affinityKey];
  const ours = [...keys, ...reservedKeys];
  if (!Object.keys(table.table).some((key) => ours.includes(key) || nearMiss(key, ours) !== undefined))
    return undefined;
  refuseReservedKeys(table, newerFile);
  table.unknownKeys([...keys, ...knownReserved(table)], { newerFile, valuesHidden: false });
  const path = table.keyPath(section.urlsKey);
  if (table.has(section.urlsKey)) {
    return { section, table, written: readUrlList(table.table[section.urlsKey], path, report) };
  }
  const remedy = `write ${section.urlsKey} = ["file:///mnt/nvme1/${section.component}"], or remove the section`;
  report.problems.push({ keyPath: path, value: '', problem: 'is missing, and the section has other keys', remedy });
  return { section, table, written: [] };
}

/** Reserved keys that stand in the table, so that they are not reported as unknown too. */
function knownReserved(table: TableReader): string[] {
  return reservedKeys.filter((key) => table.has(key));
}

function refuseReservedKeys(table: TableReader, newerFile: boolean): void {
  for (const key of knownReserved(table)) {
    if (newerFile) table.warn(key, 'is reserved for a later version, so this one ignores it', 'update the sidecar');
    else table.refuse(key, 'is reserved for a later version', 'remove it');
  }
}

/** What every component's section says, with defaults. */
export function readComponent(table: TableReader, urls: readonly StorageUrl[]): ComponentConfiguration {
  return {
    urls,
    distributionStrategy: table.choice(strategyKey, strategies) ?? 'LoadBalanced',
    collectionAffinity: table.boolean(affinityKey) ?? true,
  };
}

/** What the WAL's section says, with defaults. */
export function readWal(table: TableReader, urls: readonly StorageUrl[]): WalConfiguration {
  const objectStoresOnly = urls.length > 0 && urls.every((url) => url.scheme !== 'file');
  const bytes = { max: Number.MAX_SAFE_INTEGER, unit: 'bytes' };
  const memoryFlushSizeBytes = table.has('memory_flush_size_bytes')
    ? table.integer('memory_flush_size_bytes', { min: 1, ...bytes })
    : (objectStoresOnly ? 2 : 1) * mebibyte;
  const globalFlushThresholdBytes = table.has('global_flush_threshold')
    ? table.integer('global_flush_threshold', { min: globalFlushThresholdBytesMin, ...bytes })
    : globalFlushThresholdBytesDefault;
  refuseLowThreshold(table, memoryFlushSizeBytes, globalFlushThresholdBytes);
  return {
    ...readComponent(table, urls),
    memoryFlushSizeBytes: memoryFlushSizeBytes ?? mebibyte,
    globalFlushThresholdBytes: globalFlushThresholdBytes ?? globalFlushThresholdBytesDefault,
    syncMode: table.choice('sync_mode', syncModes) ?? 'Always',
    syncIntervalMs: table.integer('sync_interval_ms', { min: 1, max: syncIntervalMsMax, unit: 'ms' }) ?? 1000,
    lingerMs: table.integer('linger_ms', { min: 0, max: lingerMsMax, unit: 'ms' }) ?? 50,
    compression: table.choice('compression', compressions) ?? 'none',
  };
}

/** Reports a threshold under twice the flush size; where either is undefined, its own problem is already reported. */
function refuseLowThreshold(
  table: TableReader,
  flushBytes: number | undefined,
  thresholdBytes: number | undefined,
): void {
  if (flushBytes === undefined || thresholdBytes === undefined) return;
  const neededBytes = flushesInThreshold * flushBytes;
  if (thresholdBytes >= neededBytes) return;
  const given = table.has('global_flush_threshold') ? '' : `is ${thresholdBytes} by default, and `;
  table.refuse(
    'global_flush_threshold',
    `${given}must be at least ${flushesInThreshold} × memory_flush_size_bytes (${flushBytes})`,
    Number.isSafeInteger(neededBytes)
      ? `write global_flush_threshold = ${neededBytes} or more, or lower memory_flush_size_bytes`
      : 'lower memory_flush_size_bytes',
  );
}
