/**
 * Drives an engine over a simulated file system through rounds of appends, checkpoints, drops and flushes, each ended by a power
 * cut or a kill at a drawn call, and recovered, with further crashes during recovery; after each recovery the model is held
 * against what is found. Everything is drawn from one seed.
 */
import { WalError } from '../../sidecar/errors.ts';
import { Random } from '../../sidecar/storage/random.ts';
import { SimulatedFileSystem } from '../../sidecar/storage/simulated.ts';
import { type EngineFixture, openEngine } from '../../sidecar/wal/engine.fixture.ts';
import type { WalEngine } from '../../sidecar/wal/engine.ts';
import { CollectionModel, type Found } from './model.ts';

const collections = 6;
const pipelineMax = 4;
/** A round is over after so many calls of the file system at the latest. */
const callsMax = 400;
const recoveryCallsMax = 150;

/** What rounds hit, added up. */
export interface RoundReport {
  readonly rounds: number;
  /** Rounds that ended with commands unanswered. */
  readonly interrupted: number;
  readonly recoveryCrashes: number;
  /** Segments found at the recoveries. */
  readonly segments: number;
}

/** Lives of one simulated disk, one after the other, before a fresh one. */
export const roundsPerSeed = 20;

/** Runs `rounds` rounds, with `firstSeed` and the seeds after it. An error names the seed and how to replay it. */
export async function simulate(firstSeed: number, rounds: number): Promise<RoundReport> {
  const sum = { rounds: 0, interrupted: 0, recoveryCrashes: 0, segments: 0 };
  for (let seed = firstSeed; sum.rounds < rounds; seed++) {
    const simulation = new Simulation(seed);
    for (let life = 0; life < roundsPerSeed && sum.rounds < rounds; life++) {
      try {
        const report = await simulation.round();
        for (const key of ['rounds', 'interrupted', 'recoveryCrashes', 'segments'] as const) sum[key] += report[key];
      } catch (error) {
        const replay = `SIMULATION_SEED=${seed} SIMULATION_ROUNDS=${life + 1}`;
        throw new Error(`seed ${seed}, life ${life}: replay with ${replay}`, { cause: error });
      }
    }
  }
  return sum;
}

class Simulation {
  readonly #random: Random;
  readonly #models = Array.from({ length: collections }, (_, index) => new CollectionModel(`c${index}`));
  #fileSystem: SimulatedFileSystem;
  #counter = 0;
  /** Which process is alive: what an earlier one still calls back means nothing. */
  #life = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#fileSystem = new SimulatedFileSystem({ seed, shuffled: true });
  }

  /** One life of a process: recovery, checks, work, crash. Rejects with an AssertionError where a rule is broken. */
  async round(): Promise<RoundReport> {
    let recoveryCrashes = 0;
    while (this.#random.below(4) === 0 && (await this.#crashInRecovery())) recoveryCrashes++;
    const fixture = await this.#open();
    let segments = 0;
    for (const model of this.#models) {
      model.reconcile(await find(fixture.engine, model.name));
      if (model.exists) segments += fixture.engine.statistics(model.name).segments;
    }
    await this.#work(fixture);
    const unanswered = this.#models.reduce((sum, model) => sum + model.unanswered, 0);
    this.#end(fixture);
    return { rounds: 1, interrupted: unanswered > 0 ? 1 : 0, recoveryCrashes, segments };
  }

  async #open(): Promise<EngineFixture> {
    return openEngine(this.#fileSystem, {
      urls: 2,
      configuration: { memoryFlushSizeBytes: 6 * 1024, globalFlushThresholdBytes: 256 * 1024 },
    });
  }

  /** Whether the machine stopped before recovery was done. */
  async #crashInRecovery(): Promise<boolean> {
    const fileSystem = this.#fileSystem;
    fileSystem.crashAt(fileSystem.operations + 1 + this.#random.below(recoveryCallsMax));
    const opened = this.#open();
    const fixture = await Promise.race([opened, fileSystem.stopped.then(() => undefined)]);
    const isDone = fixture !== undefined;
    if (isDone) {
      // What is left of the calls until the crash is not for the reads: they would never be answered.
      fileSystem.crashAt(Number.POSITIVE_INFINITY);
      for (const model of this.#models) model.reconcile(await find(fixture.engine, model.name));
    }
    this.#end(fixture);
    return !isDone;
  }

  /** Sends commands until the machine stops. */
  async #work({ engine }: EngineFixture): Promise<void> {
    const fileSystem = this.#fileSystem;
    const running = { isStopped: false };
    const stopped = fileSystem.stopped.then(() => {
      running.isStopped = true;
    });
    fileSystem.crashAt(fileSystem.operations + 1 + this.#random.below(callsMax));
    while (!running.isStopped) {
      const model = this.#models[this.#random.below(collections)];
      if (model !== undefined) this.#step(engine, model);
      if (this.#random.below(3) > 0) await Promise.race([stopped, turn()]);
    }
  }

  #step(engine: WalEngine, model: CollectionModel): void {
    const choice = this.#random.below(40);
    if (choice === 0 && model.exists) {
      engine.flush(model.name).catch(this.#inThisLife(ignoreNotFound));
    } else if (choice <= 2 && model.isIdle && model.exists && model.last > model.checkpoint) {
      const sequence = model.checkpoint + 1 + this.#random.below(model.last - model.checkpoint);
      model.sendCheckpoint(sequence);
      void engine.checkpoint(model.name, sequence).then(this.#inThisLife(() => model.acknowledgeCheckpoint()));
    } else if (choice === 3 && model.isIdle && model.exists) {
      model.sendDrop();
      void engine.drop(model.name).then(this.#inThisLife(() => model.acknowledgeDrop()));
    } else if (model.unanswered < pipelineMax && (model.isIdle || model.isAppending)) {
      this.#append(engine, model);
    }
  }

  #append(engine: WalEngine, model: CollectionModel): void {
    const batch = Array.from({ length: 1 + this.#random.below(4) }, () => {
      const padding = 'x'.repeat(this.#random.below(this.#random.below(20) === 0 ? 20_000 : 800));
      return `${model.name}/${++this.#counter}/${padding}`;
    });
    const fields = batch.flatMap((payload) => [Buffer.from('INSERT'), Buffer.from('k'), Buffer.from(payload)]);
    const next = this.#random.coin() ? model.nextToSend : undefined;
    model.sendAppend(batch);
    const acknowledge = this.#inThisLife((last: number) => model.acknowledgeAppend(batch, last));
    const refuse = this.#inThisLife((error: WalError) => {
      throw error;
    });
    engine.append(model.name, next, fields, (error, last) => (error === undefined ? acknowledge(last) : refuse(error)));
  }

  #inThisLife<Arguments extends unknown[]>(work: (...args: Arguments) => void): (...args: Arguments) => void {
    const life = this.#life;
    return (...args) => {
      if (life === this.#life) work(...args);
    };
  }

  /** The process is gone, with or without the power. */
  #end(fixture: EngineFixture | undefined): void {
    this.#life++;
    fixture?.engine.abandon();
    fixture?.assignments.close();
    const seed = this.#random.below(2 ** 31);
    const next = this.#random.below(4) === 0 ? this.#fileSystem.kill(seed) : this.#fileSystem.crash(seed);
    this.#fileSystem = next;
  }
}

async function find(engine: WalEngine, name: string): Promise<Found | undefined> {
  try {
    const { checkpoint, nextSequence } = engine.statistics(name);
    const entries: { sequence: number; payload: string }[] = [];
    for (let from = checkpoint + 1; ; ) {
      const some = await engine.read(name, from, { count: 100, bytes: 1 << 20 });
      if (some === undefined || some.length === 0) return { entries, checkpoint, nextSequence };
      for (const { sequence, payload } of some) entries.push({ sequence, payload: payload.toString() });
      from = (some.at(-1)?.sequence ?? from) + 1;
    }
  } catch (error) {
    if (error instanceof WalError && error.code === 'NOTFOUND') return undefined;
    throw error;
  }
}

async function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof WalError && error.code === 'NOTFOUND')) throw error;
}
