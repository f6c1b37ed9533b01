/** A WAL engine over simulated disks, for tests: URLs `file:///disks/1`, … of one file system, and promises for appends. */
import { randomBytes } from 'node:crypto';
import pino from 'pino';
import type { ManagedUrl, Strategy } from '../assignment/assignment.ts';
import { AssignmentService } from '../assignment/service.ts';
import type { WalConfiguration } from '../config/configuration.ts';
import { WalError } from '../errors.ts';
import { openFileStorage } from '../storage/file.ts';
import type { FileSystem } from '../storage/filesystem.ts';
import type { Clock } from './clock.ts';
import { WalEngine } from './engine.ts';

export interface EngineFixture {
  readonly engine: WalEngine;
  readonly assignments: AssignmentService;
  readonly urls: readonly ManagedUrl[];
}

export interface FixtureOptions {
  readonly urls?: number;
  readonly strategy?: Strategy;
  readonly configuration?: Partial<WalConfiguration>;
  readonly clock?: Clock;
}

/** The system's clock, but that a test may turn it on. */
export class TurnedClock implements Clock {
  #aheadMs = 0;

  turn(aheadMs: number): void {
    this.#aheadMs += aheadMs;
  }

  nowUs(): number {
    return Math.floor((Date.now() + this.#aheadMs) * 1000);
  }

  monotonicMs(): number {
    return performance.now() + this.#aheadMs;
  }
}

export const fixtureConfiguration: WalConfiguration = {
  urls: [],
  distributionStrategy: 'RoundRobin',
  collectionAffinity: true,
  memoryFlushSizeBytes: 1024 * 1024,
  globalFlushThresholdBytes: 128 * 1024 * 1024,
  syncMode: 'Always',
  syncIntervalMs: 1000,
  lingerMs: 50,
  compression: 'none',
};

/** Opens an engine on what `fileSystem` holds. */
export async function openEngine(fileSystem: FileSystem, options: FixtureOptions = {}): Promise<EngineFixture> {
  const urls = Array.from({ length: options.urls ?? 2 }, (_, index): ManagedUrl => {
    const directory = `/disks/${index + 1}`;
    const url = `file://${directory}`;
    const storage = openFileStorage(url, directory, fileSystem);
    return { component: 'wal', index, url, storage, state: 'Recovering', reason: '', id: undefined };
  });
  const logger = pino({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent' });
  const strategy = options.strategy ?? 'RoundRobin';
  const assignments = await AssignmentService.open({
    components: new Map([['wal', { urls, strategy }]]),
    lock: async (storage) => storage.lock('test', 100),
    clock: () => new Date(),
    newId: () => randomBytes(16).toString('hex'),
    logger,
  });
  const engine = await WalEngine.open({
    urls,
    configuration: { ...fixtureConfiguration, ...options.configuration },
    assignments,
    clock: options.clock ?? new TurnedClock(),
    logger,
  });
  return { engine, assignments, urls };
}

/** Ends what `openEngine` started, as a shutdown does. */
export async function closeEngine({ engine, assignments, urls }: EngineFixture): Promise<void> {
  await engine.close();
  assignments.close();
  for (const { storage } of urls) {
    await storage?.unlock();
    await storage?.close();
  }
}

/** Appends a batch of payloads; resolves with the last sequence. */
export async function append(
  engine: WalEngine,
  collection: string,
  batch: readonly string[],
  nextSequence?: number,
): Promise<number> {
  const fields = batch.flatMap((payload) => [Buffer.from('INSERT'), Buffer.from('k'), Buffer.from(payload)]);
  return new Promise((resolve, reject) => {
    engine.append(collection, nextSequence, fields, (error, last) => (error ? reject(error) : resolve(last)));
  });
}

/** The payloads of all kept entries. */
export async function payloads(engine: WalEngine, collection: string, from = 0): Promise<string[]> {
  const all: string[] = [];
  let position = from;
  for (;;) {
    const entries = await engine.read(collection, position, { count: 1000, bytes: 1 << 20 });
    if (entries === undefined || entries.length === 0) return all;
    for (const entry of entries) all.push(entry.payload.toString());
    position = (entries.at(-1)?.sequence ?? 0) + 1;
  }
}

/** Resolves when the condition holds; fails after ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(`waited 10 s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A promise's outcome as far as it is known: undefined, the value, or the error's code with its message. */
export function watch(promise: Promise<unknown>): { outcome: unknown } {
  const watched: { outcome: unknown } = { outcome: undefined };
  promise.then(
    (value) => {
      watched.outcome = value;
    },
    (error: unknown) => {
      watched.outcome = error instanceof WalError ? `${error.code} ${error.message}` : error;
    },
  );
  return watched;
}
