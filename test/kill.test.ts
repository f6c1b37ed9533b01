/**
 * SIGKILL, round after round on the same directories: what 16 connections had acknowledged is all there, once, in order; what was
 * on its way is there whole or not at all. Other rounds: `WALSTORAGE_KILL_ROUNDS`; another run's traffic: `WALSTORAGE_KILL_SEED`.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { Random } from '../sidecar/storage/random.ts';
import { CollectionModel, type Found, makeKey, makePayload, type SentBatch } from './kill-model.ts';
import { asMap, ErrorReply, type RespClient, readAll, Unanswered } from './resp-client.ts';
import { RunningSidecar, until, Workplace } from './running-sidecar.ts';

const rounds = Number(process.env['WALSTORAGE_KILL_ROUNDS'] ?? 50);
const seed = Number(process.env['WALSTORAGE_KILL_SEED'] ?? Date.now() % 1_000_000);
/** Each so many rounds the restart after the kill is killed, too. */
const killedRestarts = 10;
const connections = 16;
const collections = 200;
const ownedEvery = 4;
/** The first ones of each kind get half of the traffic: theirs are the flushes. */
const hotShare = 10;
const requestsPerConnection = 12;
const urls = ['d1', 'd2', 'd3', 'd4'];

/** What a kill found on its way. */
interface Unfinished {
  appends: number;
  checkpoints: number;
  drops: number;
  flushes: number;
}

class Traffic {
  readonly models: readonly CollectionModel[];
  readonly unfinished: Unfinished = { appends: 0, checkpoints: 0, drops: 0, flushes: 0 };
  acknowledged = 0;
  readonly #random: Random;
  readonly #onAnswer: () => void;
  readonly #numbers: number[];

  constructor(models: readonly CollectionModel[], random: Random, numbers: number[], onAnswer: () => void) {
    this.models = models;
    this.#random = random;
    this.#numbers = numbers;
    this.#onAnswer = onAnswer;
  }

  /** Keeps requests under way on all connections until they are gone. */
  async run(clients: readonly RespClient[]): Promise<void> {
    const lanes = clients.flatMap((client, connection) =>
      Array.from({ length: requestsPerConnection }, () => this.#lane(client, connection)),
    );
    await Promise.all(lanes);
  }

  async #lane(client: RespClient, connection: number): Promise<void> {
    for (;;) {
      const model = this.#pick(connection);
      const kind = this.#chooseKind(model);
      try {
        if (kind === 'appends') await this.#append(client, connection, model);
        else if (kind === 'checkpoints') await this.#checkpoint(client, model);
        else if (kind === 'drops') await this.#drop(client, model);
        else await client.send('WAL.FLUSH', model.name);
        this.#onAnswer();
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        this.unfinished[kind]++;
        return;
      }
    }
  }

  #pick(connection: number): CollectionModel {
    for (;;) {
      const isHot = this.#random.coin();
      const limit = isHot ? Math.floor(this.models.length / hotShare) : this.models.length;
      const model = this.models[this.#random.below(limit)];
      if (model === undefined || model.isDropping) continue;
      if (model.owner === undefined || model.owner === connection) return model;
    }
  }

  #chooseKind(model: CollectionModel): keyof Unfinished {
    const isCheckpointable = model.acknowledgedLast > model.checkpoint;
    const chance = this.#random.below(100);
    if (chance < 6 && isCheckpointable) return 'checkpoints';
    if (chance < 7 && model.acknowledgedLast > 0) return 'flushes';
    if (chance < 15 && model.acknowledgedLast > 0 && model.owner !== undefined) return 'drops';
    return 'appends';
  }

  async #append(client: RespClient, connection: number, model: CollectionModel): Promise<void> {
    const number = (this.#numbers[connection] ?? 0) + 1;
    this.#numbers[connection] = number;
    const batch: SentBatch = { connection, number, entries: 1 + this.#random.below(5), first: undefined };
    const fields = Array.from({ length: batch.entries }, (_, index) => {
      const payload = makePayload(model.name, batch, index, this.#random.below(2000));
      return ['INSERT', makeKey(batch, index), payload];
    }).flat();
    const next = model.owner === undefined ? '*' : model.nextToSend;
    model.sent(batch);
    const last = await client.send('WAL.APPEND', model.name, next, ...fields);
    model.acknowledged(batch, Number(last));
    this.acknowledged++;
  }

  async #checkpoint(client: RespClient, model: CollectionModel): Promise<void> {
    // Mostly near the end, so that the log stays small.
    const kept = model.acknowledgedLast - model.checkpoint;
    const sequence = model.acknowledgedLast - this.#random.below(Math.min(kept, 30));
    model.checkpointAsked(sequence);
    const reply = await client.send('WAL.CHECKPOINT', model.name, sequence);
    model.checkpointAcknowledged(sequence, Number(reply));
  }

  async #drop(client: RespClient, model: CollectionModel): Promise<void> {
    model.dropAsked();
    await client.send('WAL.DROP', model.name);
    model.dropAcknowledged();
  }
}

/** Reads everything back and compares; resolves with the number of entries. */
async function verify(clients: readonly RespClient[], models: readonly CollectionModel[]): Promise<number> {
  let entries = 0;
  const waiting = [...models];
  const work = clients.map(async (client) => {
    for (let model = waiting.pop(); model !== undefined; model = waiting.pop()) {
      const found = await look(client, model.name);
      entries += found?.entries.length ?? 0;
      model.settle(found);
    }
  });
  await Promise.all(work);
  return entries;
}

async function look(client: RespClient, collection: string): Promise<Found | undefined> {
  try {
    const statistics = asMap(await client.send('WAL.STAT', collection));
    return {
      entries: await readAll(client, collection),
      checkpoint: Number(statistics.get('checkpoint')),
      nextSequence: Number(statistics.get('next_sequence')),
    };
  } catch (error) {
    if (error instanceof ErrorReply && error.code === 'NOTFOUND') return undefined;
    throw error;
  }
}

/** Files under temporary names: of segments (a flush between its first write and its rename), and of other files. */
async function temporaryFiles(workplace: Workplace): Promise<{ segments: number; others: number }> {
  const found = { segments: 0, others: 0 };
  for (const url of urls) {
    const files = await readdir(workplace.path(url), { recursive: true, withFileTypes: true });
    for (const file of files.filter(({ name }) => name.startsWith('_tmp'))) {
      const isSegment = file.parentPath !== workplace.path(url) && !file.parentPath.endsWith('_journal');
      found[isSegment ? 'segments' : 'others']++;
    }
  }
  return found;
}

/** Newest epochs of the journals, as their file names tell. */
async function epochs(workplace: Workplace): Promise<string> {
  const newest = await Promise.all(
    urls.map(async (url) => {
      const names = await readdir(workplace.path(url, '_journal')).catch((): string[] => []);
      return names
        .filter((name) => name.endsWith('.journal'))
        .toSorted()
        .at(-1)
        ?.slice(0, 10);
    }),
  );
  return newest.join(' ');
}

class Rounds {
  readonly #workplace: Workplace;
  readonly #random: Random;
  readonly #models: readonly CollectionModel[];
  readonly #numbers: number[] = Array.from({ length: connections }, () => 0);
  hits = 0;

  constructor(workplace: Workplace, random: Random) {
    this.#workplace = workplace;
    this.#random = random;
    this.#models = Array.from({ length: collections }, (_, index) => {
      // Spread over the list, so that some are among the hot ones.
      const isOwned = index % ownedEvery === 0;
      return new CollectionModel(`c${index}`, isOwned ? (index / ownedEvery) % connections : undefined);
    });
  }

  /** Start, verify, traffic, kill. Resolves with a line that tells what happened. */
  async round(): Promise<string> {
    const sidecar = await this.#start();
    try {
      const clients = await Promise.all(Array.from({ length: connections }, () => sidecar.connect()));
      const entries = await verify(clients, this.#models);
      const answersUntilKill = 100 + this.#random.below(1200);
      let answers = 0;
      const traffic = new Traffic(this.#models, this.#random, this.#numbers, () => {
        answers++;
        if (answers === answersUntilKill) sidecar.signal('SIGKILL');
      });
      await traffic.run(clients);
      assert.equal(await sidecar.exit(), 128 + 9, `the sidecar ended by itself: ${sidecar.stderr}`);
      const temporary = await temporaryFiles(this.#workplace);
      const { appends, checkpoints, drops, flushes } = traffic.unfinished;
      if (appends + temporary.segments > 0) this.hits++;
      const cuts = sidecar.log.filter(({ msg }) => msg.includes('unclean end')).length;
      return (
        `found ${entries} entries, ${cuts} unclean ends; killed after ${traffic.acknowledged} appends; ` +
        `unanswered: ${appends} appends, ${checkpoints} checkpoints, ${drops} drops, ${flushes} flushes; ` +
        `temporary files: ${temporary.segments} of segments, ${temporary.others} others`
      );
    } finally {
      await sidecar.kill();
    }
  }

  /** Reads everything back a last time, after an orderly end, too. */
  async finish(): Promise<void> {
    for (const _ of ['after the last kill', 'after an orderly end']) {
      const sidecar = await this.#start();
      try {
        await verify(await Promise.all([sidecar.connect(), sidecar.connect()]), this.#models);
        assert.equal(await sidecar.stop(), 0);
        const left = await temporaryFiles(this.#workplace);
        assert.deepEqual(left, { segments: 0, others: 0 }, 'what the killed ones left unfinished was cleared away');
      } finally {
        await sidecar.kill();
      }
    }
  }

  /** Kills a sidecar as soon as one of its URLs has a new epoch: in its recovery. */
  async killInRecovery(): Promise<void> {
    const before = await epochs(this.#workplace);
    const sidecar = await RunningSidecar.spawn(this.#sidecar());
    try {
      await until('a new epoch', async () => (await epochs(this.#workplace)) !== before);
    } finally {
      await sidecar.kill();
    }
  }

  #sidecar(): Parameters<typeof RunningSidecar.spawn>[0] {
    const keys = { memory_flush_size_bytes: 16 * 1024, distribution_strategy: 'RoundRobin' };
    return { workplace: this.#workplace, configuration: this.#workplace.configuration(urls, keys) };
  }

  #start(): Promise<RunningSidecar> {
    return RunningSidecar.start(this.#sidecar());
  }
}

test(`R1 R2 kill -9, ${rounds} rounds: every acknowledged entry once, in order, no partial batch`, async (t) => {
  t.diagnostic(`WALSTORAGE_KILL_SEED=${seed}`);
  const workplace = await Workplace.make();
  const run = new Rounds(workplace, new Random(seed));
  for (let round = 1; round <= rounds; round++) {
    try {
      t.diagnostic(`round ${round}: ${await run.round()}`);
      if (round % killedRestarts === 0) await run.killInRecovery();
    } catch (error) {
      t.diagnostic(`round ${round} failed: the directories are left for a look in ${workplace.directory}`);
      throw error;
    }
  }
  await run.finish();
  assert.ok(run.hits >= 0.8 * rounds, `only ${run.hits} of ${rounds} kills hit an append or a flush on its way`);
  await workplace.end();
});
