/** The lists of URLs of all components: each URL by itself, then how they lie to each other. */
import type { Component } from '../assignment/assignment.ts';
import { type Report, shorten } from './problem.ts';
import { parseStorageUrl, type StorageUrl } from './storage-url.ts';

/** R5: of each component. */
export const urlsMax = 32;

/** A URL and where it stands. */
export interface PlacedUrl {
  readonly component: Component;
  readonly keyPath: string;
  readonly url: StorageUrl;
}

/** Strings of a list of URLs, each with its key path. */
export interface WrittenUrl {
  readonly keyPath: string;
  readonly written: string;
}

/**
 * The strings of a list of URLs. No list, an empty one, too long a one, and elements that are no strings go to the
 * report; what is usable is given back, so that its problems are found too.
 */
export function readUrlList(value: unknown, path: string, report: Report): WrittenUrl[] {
  const refuse = (problem: string, remedy: string) =>
    report.problems.push({ keyPath: path, value: shorten(value), problem, remedy });
  if (!Array.isArray(value)) {
    refuse('must be a list of URLs', 'write strings in brackets: ["file:///mnt/nvme1/wal"]');
    return [];
  }
  if (value.length === 0) refuse('is an empty list', 'name at least one URL: ["file:///mnt/nvme1/wal"]');
  if (value.length > urlsMax) {
    refuse(`has ${value.length} URLs, ${urlsMax} are allowed`, 'remove some, or join disks into one file system');
  }
  const written: WrittenUrl[] = [];
  for (const [index, element] of value.slice(0, urlsMax).entries()) {
    const keyPath = `${path}[${index}]`;
    if (typeof element === 'string') written.push({ keyPath, written: element });
    else {
      const remedy = 'write it in quotes: "file:///mnt/nvme1/wal"';
      report.problems.push({ keyPath, value: shorten(element), problem: 'must be a string', remedy });
    }
  }
  return written;
}

/** The URLs that hold; the others go to the report. */
export function parseUrls(
  component: Component,
  list: readonly WrittenUrl[],
  environment: Readonly<Record<string, string | undefined>>,
  report: Report,
): PlacedUrl[] {
  const placed: PlacedUrl[] = [];
  for (const { keyPath, written } of list) {
    const parsed = parseStorageUrl(written, environment);
    if ('url' in parsed) placed.push({ component, keyPath, url: parsed.url });
    else for (const found of parsed.problems) report.problems.push({ keyPath, value: shorten(written), ...found });
  }
  return placed;
}

/** Reports URLs that are the same place as, inside, or around one that stands before them, of any component. */
export function refuseOverlaps(urls: readonly PlacedUrl[], report: Report): void {
  for (const [index, later] of urls.entries()) {
    for (const earlier of urls.slice(0, index)) {
      const problem = overlap(later.url.url, earlier.url.url);
      if (problem === undefined) continue;
      report.problems.push({
        keyPath: later.keyPath,
        value: shorten(later.url.written),
        problem: `${problem} ${earlier.keyPath} (${shorten(earlier.url.written)})`,
        remedy: 'give each URL a directory or prefix of its own, side by side',
      });
    }
  }
}

function overlap(later: string, earlier: string): string | undefined {
  if (later === earlier) return 'is the same place as';
  if (later.startsWith(`${earlier}/`)) return 'lies inside';
  if (earlier.startsWith(`${later}/`)) return 'contains';
  return undefined;
}
