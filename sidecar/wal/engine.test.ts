import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../storage/random.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { append, closeEngine, type EngineFixture, openEngine, payloads, until, watch } from './engine.fixture.ts';
import { encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { CollectionStatistics } from './wal.ts';

const directory = /disks\/1\/c/;

interface Bench extends EngineFixture {
  readonly fileSystem: SimulatedFileSystem;
}

async function bench(urls = 1): Promise<Bench> {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  return { fileSystem, ...(await openEngine(fileSystem, { urls })) };
}

async function namesIn({ urls }: EngineFixture, path: string): Promise<string[]> {
  const entries = (await urls[0]?.storage?.list(path)) ?? [];
  return entries.map((entry) => entry.name);
}

test('a checkpoint is at most the last durable sequence, is never lowered, and answers the first kept', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['1', '2', '3']);
  assert.equal(await engine.checkpoint('c', 0), 1);
  assert.equal(await engine.checkpoint('c', 2), 3);
  assert.equal(await engine.checkpoint('c', 1), 3, 'lower is a no-op');
  assert.equal(await engine.checkpoint('c', 2), 3);
  await assert.rejects(engine.checkpoint('c', 4), { code: 'INVALID', message: /at most the last durable sequence, 3/ });
  assert.equal(engine.statistics('c').checkpoint, 2);
  assert.equal(await engine.checkpoint('c', 3), 4);
  await assert.rejects(engine.checkpoint('unknown', 1), { code: 'NOTFOUND' });
  await closeEngine(fixture);
});

test('a checkpoint is durable before its reply, whatever is trimmed afterwards (E12)', async () => {
  for (const isFlushed of [false, true]) {
    const { fileSystem, engine } = await bench();
    await append(engine, 'c', ['1', '2', '3']);
    if (isFlushed) await engine.flush('c');
    await engine.checkpoint('c', 2);
    for (let seed = 0; seed < 10; seed++) {
      const again = await openEngine(fileSystem.crash(seed), { urls: 1 });
      assert.equal(again.engine.statistics('c').checkpoint, 2);
      assert.deepEqual(await payloads(again.engine, 'c'), ['3']);
      assert.equal(again.engine.statistics('c').nextSequence, 4);
      await closeEngine(again);
    }
  }
});

test('sequences go on after all was trimmed and the sidecar restarted: none is given out twice (R1)', async () => {
  for (const isFlushed of [false, true]) {
    const { fileSystem, ...fixture } = await bench();
    await append(fixture.engine, 'c', ['1', '2', '3']);
    if (isFlushed) await fixture.engine.flush('c');
    await fixture.engine.checkpoint('c', 3);
    await closeEngine(fixture);
    let next = fileSystem.crash(1);
    for (let restart = 0; restart < 3; restart++) {
      const again = await openEngine(next, { urls: 1 });
      assert.equal(again.engine.statistics('c').nextSequence, 4);
      next = next.crash(restart);
    }
    const last = await openEngine(next, { urls: 1 });
    assert.equal(await append(last.engine, 'c', ['4'], 4), 4);
    await closeEngine(last);
  }
});

test('a drop answers the entries dropped, is durable, and ends the assignment (E12)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, assignments } = fixture;
  await append(engine, 'c', ['1', '2', '3']);
  await engine.flush('c');
  await append(engine, 'c', ['4']);
  await engine.checkpoint('c', 1);
  assert.equal(await engine.drop('c'), 3);
  assert.equal(assignments.get('wal', 'c'), undefined);
  assert.throws(() => engine.statistics('c'), { code: 'NOTFOUND' });
  await assert.rejects(engine.read('c', 0, { count: 1, bytes: 1 }), { code: 'NOTFOUND' });
  await assert.rejects(engine.drop('c'), { code: 'NOTFOUND' });
  assert.deepEqual([...engine.collections()], []);
  for (let seed = 0; seed < 10; seed++) {
    const again = await openEngine(fileSystem.crash(seed), { urls: 1 });
    assert.deepEqual([...again.engine.collections()], [], `seed ${seed}`);
    assert.ok(!(await namesIn(again, '')).includes('c'), 'its directory is gone');
    await closeEngine(again);
  }
});

test('a drop is seen by nobody before it is durable, and undone where it fails (R2, E12)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['1']);
  fileSystem.failNext('write', /_journal/, 'ENOSPC');
  const release = fileSystem.hold('write', /_journal/);
  const dropped = watch(engine.drop('c'));
  const behind = watch(append(engine, 'c', ['2'], 2));
  assert.deepEqual(await payloads(engine, 'c'), ['1']);
  assert.equal(engine.statistics('c').entries, 1);
  assert.deepEqual([...engine.collections()], ['c']);
  assert.deepEqual([dropped.outcome, behind.outcome], [undefined, undefined]);
  release();
  await until('answered', () => dropped.outcome !== undefined && behind.outcome !== undefined);
  assert.match(String(dropped.outcome), /^NOSPACE/);
  assert.match(String(behind.outcome), /^NOSPACE/);
  assert.deepEqual(await payloads(engine, 'c'), ['1']);
  await closeEngine(fixture);
});

test('an append after a drop makes a new incarnation, from sequence 1 (E13)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['old 1', 'old 2']);
  await engine.flush('c');
  const before = engine.statistics('c').incarnation;
  const dropped = engine.drop('c');
  const next = append(engine, 'c', ['new'], 1);
  assert.equal(await dropped, 2);
  assert.equal(await next, 1);
  assert.notEqual(engine.statistics('c').incarnation, before);
  assert.deepEqual(await payloads(engine, 'c'), ['new']);
  for (let seed = 0; seed < 10; seed++) {
    const again = await openEngine(fileSystem.crash(seed), { urls: 1 });
    assert.deepEqual(await payloads(again.engine, 'c'), ['new'], `seed ${seed}`);
    await closeEngine(again);
  }
});

test('the next incarnation waits until the old one’s files are gone and that is synced (E13)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine } = fixture;
  await append(engine, 'c', ['old']);
  await engine.flush('c');
  const release = fileSystem.hold('unlink', directory);
  await engine.drop('c');
  const next = watch(append(engine, 'c', ['new']));
  await append(engine, 'other', ['1']);
  assert.equal(next.outcome, undefined);
  assert.deepEqual(await namesIn(fixture, 'c'), ['00000000000000000001-00000000000000000001.avro', '_collection.json']);
  release();
  await until('created', () => next.outcome !== undefined);
  assert.equal(next.outcome, 1);
  await closeEngine(fixture);
});

test('a drop whose files cannot be deleted is done all the same; the next incarnation tries again (E13)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { engine, urls } = fixture;
  await append(engine, 'c', ['old']);
  await engine.flush('c');
  fileSystem.failNext('unlink', directory, 'EIO');
  assert.equal(await engine.drop('c'), 1);
  const outcome = watch(append(engine, 'c', ['new']));
  await until('answered', () => outcome.outcome !== undefined);
  if (outcome.outcome !== 1) assert.equal(await append(engine, 'c', ['new']), 1);
  assert.deepEqual(await payloads(engine, 'c'), ['new']);
  assert.equal(urls[0]?.state, 'Available');
  await closeEngine(fixture);
});

async function dropAndAppend(fileSystem: SimulatedFileSystem): Promise<void> {
  const { engine } = await openEngine(fileSystem, { urls: 1 });
  await append(engine, 'c', ['old 1', 'old 2']);
  await engine.flush('c');
  await append(engine, 'c', ['old 3']);
  await engine.drop('c');
  await append(engine, 'c', ['new 1']);
  await engine.flush('c');
  await append(engine, 'c', ['new 2']);
}

test('a crash at any step of a drop and the append after it leaves the one or the other (E12, E13)', async () => {
  const measured = new SimulatedFileSystem({ seed: 1 });
  await dropAndAppend(measured);
  const wholes = ['', 'old 1,old 2', 'old 1,old 2,old 3', 'new 1', 'new 1,new 2'];
  const seen = new Set<string>();
  for (let round = 40; round <= measured.operations * 2; round++) {
    const step = Math.ceil(round / 2);
    const fileSystem = new SimulatedFileSystem({ seed: round });
    fileSystem.crashAt(step);
    watch(dropAndAppend(fileSystem));
    await fileSystem.stopped;
    const again = await openEngine(fileSystem.crash(round), { urls: 1 });
    const isThere = [...again.engine.collections()].includes('c');
    const found = isThere ? (await payloads(again.engine, 'c')).join() : '';
    assert.ok(wholes.includes(found), `round ${round}: ${found}`);
    seen.add(found);
    const next = await append(again.engine, 'c', ['after']);
    assert.equal(next, found === '' ? 1 : found.split(',').length + 1, `round ${round}`);
    await closeEngine(again);
  }
  assert.deepEqual(seen, new Set(wholes));
});

/** A machine whose journal has a drop record that was seen, and never reached the disk; its sidecar was killed. */
async function machineWithLostDrop(seed: number): Promise<SimulatedFileSystem> {
  const { fileSystem, engine } = await bench();
  await append(engine, 'c', ['1', '2']);
  await engine.flush('c');
  await append(engine, 'c', ['3']);
  fileSystem.failNext('sync', /_journal/, 'EIO');
  await assert.rejects(engine.drop('c'), { code: 'UNAVAILABLE' });
  engine.abandon();
  return fileSystem.kill(seed);
}

test('a drop that only the page cache knew is whole or undone after a power cut in the recovery (E12, E17)', async () => {
  const whole = await machineWithLostDrop(1);
  await closeEngine(await openEngine(whole, { urls: 1 }));
  const found = new Set<string>();
  for (let step = 1; step <= whole.operations; step++) {
    const killed = await machineWithLostDrop(step);
    killed.crashAt(step);
    watch(openEngine(killed, { urls: 1 }).then(closeEngine));
    await killed.stopped;
    const again = await openEngine(killed.crash(step), { urls: 1 });
    const isThere = [...again.engine.collections()].includes('c');
    found.add(isThere ? (await payloads(again.engine, 'c')).join() : '');
    await closeEngine(again);
  }
  assert.deepEqual(found, new Set(['', '1,2,3']));
});

test('names come and go in any order; each collection keeps its own entries', async () => {
  const { fileSystem, ...fixture } = await bench(2);
  const names = ['a', 'b.c', '日本', '../up', 'x'.repeat(512), 'A', '_lead', 'a/b', ' '];
  for (const name of names) await append(fixture.engine, name, [`of ${name}`]);
  await fixture.engine.flush(undefined);
  for (const name of names) await append(fixture.engine, name, [`more of ${name}`]);
  await closeEngine(fixture);
  const again = await openEngine(fileSystem.crash(1), { urls: 2 });
  assert.deepEqual(new Set(again.engine.collections()), new Set(names));
  for (const name of names) assert.deepEqual(await payloads(again.engine, name), [`of ${name}`, `more of ${name}`]);
  await closeEngine(again);
});

test('a collection that was assigned and has no entry is there, empty, and keeps its incarnation', async () => {
  const { fileSystem, ...fixture } = await bench();
  const { incarnation } = await fixture.assignments.assign('wal', 'c');
  assert.deepEqual(await payloads(fixture.engine, 'c'), []);
  assert.equal(fixture.engine.statistics('c').nextSequence, 1);
  await closeEngine(fixture);
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.equal(again.engine.statistics('c').incarnation, incarnation);
  assert.equal(await append(again.engine, 'c', ['1'], 1), 1);
  assert.equal(again.engine.statistics('c').incarnation, incarnation);
  await closeEngine(again);
});

test('UNASSIGN of a collection with entries is INVALID, and drops one without', async () => {
  const { fileSystem: _, ...fixture } = await bench();
  const { engine, assignments } = fixture;
  await append(engine, 'c', ['1']);
  await assert.rejects(assignments.remove('wal', 'c'), { code: 'INVALID', message: /has entries/ });
  await engine.checkpoint('c', 1);
  assert.equal(await assignments.remove('wal', 'c'), true);
  assert.equal(await assignments.remove('wal', 'c'), false);
  await closeEngine(fixture);
});

/** A collection as it must be, kept beside the engine. */
class Model {
  readonly entries: { sequence: number; payload: string; bytes: number }[] = [];
  next = 1;
  checkpoint = 0;

  append(batch: readonly string[], timestampUs: number): void {
    for (const payload of batch) {
      const [operation, key, value] = [Buffer.from('INSERT'), Buffer.from('k'), Buffer.from(payload)];
      const room = Buffer.alloc(entryOverheadBytesMax + operation.length + key.length + value.length);
      const bytes = encodeEntry(room, 0, this.next, timestampUs, operation, key, value);
      this.entries.push({ sequence: this.next++, payload, bytes });
    }
  }

  trim(sequence: number): void {
    this.checkpoint = Math.max(this.checkpoint, sequence);
    while ((this.entries[0]?.sequence ?? this.next) <= this.checkpoint) this.entries.shift();
  }

  check({ entries, bytes, firstSequence, nextSequence, checkpoint, memoryBytes }: CollectionStatistics): void {
    assert.deepEqual(
      { entries, bytes, firstSequence, nextSequence, checkpoint },
      {
        entries: this.entries.length,
        bytes: this.entries.reduce((sum, entry) => sum + entry.bytes, 0),
        firstSequence: this.checkpoint + 1,
        nextSequence: this.next,
        checkpoint: this.checkpoint,
      },
    );
    assert.ok(memoryBytes >= 0);
  }
}

test('statistics are exact through appends, flushes, checkpoints and restarts (origin: statistics were constants)', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = new Random(seed);
    let fileSystem = new SimulatedFileSystem({ seed });
    let fixture = await openEngine(fileSystem, { urls: 2 });
    const models = new Map(['a', 'b', 'c'].map((name) => [name, new Model()]));
    for (const name of models.keys()) await fixture.assignments.assign('wal', name);
    for (let step = 0; step < 40; step++) {
      const name = ['a', 'b', 'c'][random.below(3)] ?? 'a';
      const model = models.get(name) ?? new Model();
      const what = random.below(10);
      if (what < 6) {
        const batch = Array.from({ length: 1 + random.below(5) }, (_, index) =>
          'x'.repeat(random.below(3_000) + index),
        );
        await append(fixture.engine, name, batch);
        model.append(batch, fixture.engine.statistics(name).lastAppendUs);
      } else if (what === 6) await fixture.engine.flush(name);
      else if (what === 7 && model.next > 1) {
        const sequence = random.below(model.next);
        assert.equal(await fixture.engine.checkpoint(name, sequence), Math.max(model.checkpoint, sequence) + 1);
        model.trim(sequence);
      } else if (what === 8) {
        fileSystem = fileSystem.crash(step);
        fixture = await openEngine(fileSystem, { urls: 2 });
      } else if (what === 9) assert.ok((await fixture.engine.flush(undefined)) >= 0);
      for (const [each, known] of models) known.check(fixture.engine.statistics(each));
      const perUrl = fixture.engine.committers.map((committer) => committer.liveBytes);
      const expected = fixture.urls.map(({ url }) =>
        [...models.keys()]
          .map((each) => fixture.engine.statistics(each))
          .filter((statistics) => statistics.url === url)
          .reduce((sum, { bytes }) => sum + bytes, 0),
      );
      assert.deepEqual(perUrl, expected, `seed ${seed}, step ${step}`);
    }
    for (const [name, model] of models) {
      assert.deepEqual(
        await payloads(fixture.engine, name),
        model.entries.map((entry) => entry.payload),
        `seed ${seed}`,
      );
    }
    await closeEngine(fixture);
  }
});

test('a shutdown answers what it received, and loses nothing that it could not flush (E24)', async () => {
  const { fileSystem, ...fixture } = await bench();
  const appends = Array.from({ length: 30 }, (_, index) => append(fixture.engine, 'c', [`${index}`]));
  await closeEngine(fixture);
  assert.equal((await Promise.all(appends)).length, 30);
  const again = await openEngine(fileSystem.crash(1), { urls: 1 });
  assert.equal((await payloads(again.engine, 'c')).length, 30);
  await closeEngine(again);
});

for (const syncMode of ['Periodic', 'Never'] as const) {
  test(`with sync_mode ${syncMode} a shutdown syncs, and a kill of the process alone loses nothing (E24)`, async () => {
    const configuration = { syncMode, syncIntervalMs: 3_600_000 };
    const fileSystem = new SimulatedFileSystem({ seed: 1 });
    const fixture = await openEngine(fileSystem, { urls: 1, configuration });
    await append(fixture.engine, 'c', ['1', '2']);
    const killed = fileSystem.kill(1);
    const second = await openEngine(killed, { urls: 1, configuration });
    assert.deepEqual(await payloads(second.engine, 'c'), ['1', '2']);
    await append(second.engine, 'c', ['3']);
    await closeEngine(second);
    for (let seed = 0; seed < 10; seed++) {
      const again = await openEngine(killed.crash(seed), { urls: 1, configuration });
      assert.deepEqual(await payloads(again.engine, 'c'), ['1', '2', '3']);
      await closeEngine(again);
    }
  });

  test(`with sync_mode ${syncMode} storage goes only after the record that allows it is on the disk (E12)`, async () => {
    const configuration = { syncMode, syncIntervalMs: 3_600_000 };
    for (const end of ['checkpoint', 'drop'] as const) {
      const fileSystem = new SimulatedFileSystem({ seed: 1 });
      const fixture = await openEngine(fileSystem, { urls: 1, configuration });
      const { engine } = fixture;
      await append(engine, 'c', ['1', '2']);
      await engine.flush('c');
      await append(engine, 'c', ['3', '4']);
      await engine.flush('c');
      await append(engine, 'c', ['5']);
      if (end === 'checkpoint') {
        await engine.checkpoint('c', 2);
        await engine.flusher.idle();
      } else {
        await engine.drop('c');
        // The next incarnation waits until the storage is gone.
        await append(engine, 'c', ['9']);
      }
      for (let seed = 0; seed < 20; seed++) {
        const again = await openEngine(fileSystem.crash(seed), { urls: 1, configuration });
        const isThere = [...again.engine.collections()].includes('c');
        const found = isThere ? await payloads(again.engine, 'c') : [];
        assert.ok(found.every((payload, index) => index === 0 || Number(payload) === Number(found[index - 1]) + 1));
        await closeEngine(again);
      }
    }
  });
}
