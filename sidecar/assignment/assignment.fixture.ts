/** What the tests of this folder share: URLs on one machine, simulated or real, and services over them. */
import { randomBytes } from 'node:crypto';
import { openFileStorage } from '../storage/file.ts';
import type { FileSystem } from '../storage/filesystem.ts';
import type { Storage } from '../storage/storage.ts';
import type { Component, ManagedUrl, Strategy } from './assignment.ts';
import { KnownUrls } from './known-urls.ts';
import { AssignmentService } from './service.ts';

export const silent = { info: (): void => undefined, warn: (): void => undefined };

export const newId = (): string => randomBytes(16).toString('hex');

/** URLs under `/mnt/<name>`, or under any directory, each with its own storage. */
export function manage(fileSystem: FileSystem, component: Component, directories: readonly string[]): ManagedUrl[] {
  return directories.map((directory, index) => {
    const url = `file://${directory}`;
    const storage = openFileStorage(url, directory, fileSystem);
    return { component, index, url, storage, state: 'Recovering', reason: '', id: undefined };
  });
}

/** Shorter than in a sidecar: a simulated machine that was crashed never answers. */
const options = {
  lock: (storage: Storage): Promise<void> => storage.lock('test', 0),
  newId,
  deadlineMs: 1000,
};

/** The component's known URLs, opened as a sidecar's start does. */
export function openKnown(urls: readonly ManagedUrl[]): Promise<KnownUrls> {
  return KnownUrls.open(urls[0]?.component ?? 'wal', urls, options);
}

const clock = (): Date => new Date();

/** A service over the URLs of one component or of several, which probes only when it is told to. */
export function openService(
  urls: readonly ManagedUrl[],
  strategy: Strategy = 'RoundRobin',
): Promise<AssignmentService> {
  const components = new Map<Component, { urls: readonly ManagedUrl[]; strategy: Strategy }>();
  for (const { component } of urls) {
    components.set(component, { urls: urls.filter((url) => url.component === component), strategy });
  }
  return AssignmentService.open({ ...options, components, clock, logger: silent, probeIntervalMs: 3_600_000 });
}

/** `/mnt/d1`, `/mnt/d2`, … */
export const mounts = (count: number): string[] => Array.from({ length: count }, (_, index) => `/mnt/d${index + 1}`);

export const collections = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `collection_${index + 1}`);
