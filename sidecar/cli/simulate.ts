/**
 * `walstorage simulate`: where new WAL collections would go, from empty directories on: each assignment, then the
 * distribution. It asks the strategies that the sidecar asks, and touches no storage, so any URL will do.
 */
import type { Strategy } from '../assignment/assignment.ts';
import { type Candidate, choose } from '../assignment/strategy.ts';
import type { StorageUrl } from '../config/storage-url.ts';
import { exitStatus, loadConfiguration, type OutputForm, type Terminal } from './terminal.ts';

export interface SimulateOptions {
  readonly config: string;
  /** How many, named collection_1, collection_2, …: 1 to 100,000. */
  readonly collections: number;
  /** Undefined: the one of the configuration. */
  readonly strategy: Strategy | undefined;
  readonly output: OutputForm;
}

const collectionsMax = 100_000;

interface SimulatedAssignment {
  readonly collection: string;
  readonly index: number;
  readonly url: string;
}

interface DirectoryShare {
  readonly index: number;
  readonly url: string;
  readonly collections: number;
  readonly percent: number;
}

/** Writes the simulation to stdout; resolves with the exit status. */
export async function simulate(options: SimulateOptions, terminal: Terminal): Promise<number> {
  const { collections, config, output } = options;
  if (!Number.isInteger(collections) || collections < 1 || collections > collectionsMax) {
    terminal.stderr.write(`--collections must be a whole number from 1 to ${collectionsMax}, not ${collections}\n`);
    return exitStatus.configuration;
  }
  const loaded = await loadConfiguration(config, terminal);
  if (loaded === undefined) return exitStatus.configuration;
  const { urls, distributionStrategy } = loaded.configuration.wal;
  const strategy = options.strategy ?? distributionStrategy;
  const assignments = assign(strategy, collections, urls);
  const distribution = share(assignments, urls);
  const result = { strategy, collections, assignments, distribution };
  terminal.stdout.write(output === 'json' ? `${JSON.stringify(result, undefined, 2)}\n` : describe(result));
  return exitStatus.fine;
}

function assign(strategy: Strategy, collections: number, urls: readonly StorageUrl[]): SimulatedAssignment[] {
  const counts = urls.map(() => 0);
  const assignments: SimulatedAssignment[] = [];
  let cursor = 0;
  for (let number = 1; number <= collections; number += 1) {
    const collection = `collection_${number}`;
    const candidates = urls.map(({ url }, index): Candidate => {
      return { index, url, collections: counts[index] ?? 0, bytes: 0, available: true };
    });
    const index = choose(strategy, collection, candidates, cursor) ?? 0;
    assignments.push({ collection, index, url: urls[index]?.url ?? '' });
    counts[index] = (counts[index] ?? 0) + 1;
    cursor = (index + 1) % urls.length;
  }
  return assignments;
}

function share(assignments: readonly SimulatedAssignment[], urls: readonly StorageUrl[]): DirectoryShare[] {
  return urls.map(({ url }, index) => {
    const collections = assignments.filter((assignment) => assignment.index === index).length;
    const percent = Math.round((1000 * collections) / assignments.length) / 10;
    return { index, url, collections, percent };
  });
}

function describe(result: {
  strategy: Strategy;
  collections: number;
  assignments: readonly SimulatedAssignment[];
  distribution: readonly DirectoryShare[];
}): string {
  const { strategy, collections, assignments, distribution } = result;
  const assigned = assignments.map(({ collection, index, url }) => `${collection} -> Directory ${index} (${url})\n`);
  const width = String(collections).length;
  const shares = distribution.map((directory) => {
    const counted = `${String(directory.collections).padStart(width)} collections`;
    return `Directory ${directory.index}: ${counted}, ${directory.percent.toFixed(1).padStart(5)} % (${directory.url})\n`;
  });
  const title = `Distribution of ${collections} collections over ${distribution.length} directories by ${strategy}:\n`;
  return `${assigned.join('')}\n${title}${shares.join('')}`;
}
