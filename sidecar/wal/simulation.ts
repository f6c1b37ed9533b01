/**
 * Drives an engine over a simulated file system through rounds of appends, checkpoints, drops and flushes, each ended by a power
 * cut or a kill at a drawn call, and recovered, with further crashes during recovery; after each recovery the model is held
 * against what is found. Everything is drawn from one seed.
 */
import { WalError } from '../errors.ts';
import { Random } from '../storage/random.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { type EngineFixture, openEngine } from './engine.fixture.ts';
import type { WalEngine } from './engine.ts';
import { CollectionModel, type Found } from './simulation.model.ts';

const collections = 6;
const pipelineMax = 4;
/** A round is over after so many calls of the file system at the latest. */
const callsMax = 400;
const recoveryCallsMax = 150;

export interface RoundReport {
  readonly unanswered: number;
  readonly recoveryCrashes: number;
  readonly segments: number;
}

export class Simulation {
  readonly #random: Random;
  readonly #models = Array.from({ length: collections }, (_, index) => new CollectionModel(`c${index}`));
  #fileSystem: SimulatedFileSystem;
  #counter = 0;

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
    return { unanswered, recoveryCrashes, segments };
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
      for (const model of this.#models) model.reconcile(await find(fixture.engine, model.name));
    }
    this.#end(fixture);
    return !isDone;
  }

  /** Sends commands until the machine stops. */
  async #work({ engine }: EngineFixture): Promise<void> {
    const fileSystem = this.#fileSystem;
    let isStopped = false;
    const stopped = fileSystem.stopped.then(() => {
      isStopped = true;
    });
    fileSystem.crashAt(fileSystem.operations + 1 + this.#random.below(callsMax));
    while (!isStopped) {
      const model = this.#models[this.#random.below(collections)] as CollectionModel;
      this.#step(engine, model);
      if (this.#random.below(3) > 0) await Promise.race([stopped, turn()]);
    }
  }

  #step(engine: WalEngine, model: CollectionModel): void {
    const choice = this.#random.below(40);
    if (choice === 0 && model.exists) {
      engine.flush(model.name).catch(ignoreNotFound);
    } else if (choice <= 2 && model.isIdle && model.exists && model.last > model.checkpoint) {
      const sequence = model.checkpoint + 1 + this.#random.below(model.last - model.checkpoint);
      model.sendCheckpoint(sequence);
      void engine.checkpoint(model.name, sequence).then(() => model.acknowledgeCheckpoint());
    } else if (choice === 3 && model.isIdle && model.exists) {
      model.sendDrop();
      void engine.drop(model.name).then(() => model.acknowledgeDrop());
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
    engine.append(model.name, next, fields, (error, last) => {
      if (error !== undefined) throw error;
      model.acknowledgeAppend(batch, last);
    });
  }

  /** The process is gone, with or without the power. */
  #end(fixture: EngineFixture | undefined): void {
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
