import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WalError } from '../errors.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { decodeFileHeader, type FileHeader, fileHeaderBytes } from './frame.ts';
import { journalFiles, mount, newJournal, replayed, writeText } from './journal.fixture.ts';

const journalPattern = /_journal/;

async function headersOf(storage: Storage): Promise<FileHeader[]> {
  const headers: FileHeader[] = [];
  for (const name of await journalFiles(storage)) {
    const header = decodeFileHeader(await storage.read(`_journal/${name}`));
    assert.ok(header, name);
    headers.push(header);
  }
  return headers;
}

function machine(capacityBytes?: number): SimulatedFileSystem {
  return new SimulatedFileSystem(capacityBytes === undefined ? { seed: 1 } : { seed: 1, capacityBytes });
}

test('a written frame survives every power cut with durable writes (R1)', async () => {
  const fileSystem = machine();
  const journal = newJournal(await mount(fileSystem), 1);
  await journal.writeRecovered();
  for (let sequence = 1; sequence <= 5; sequence++) await writeText(journal, 'c', sequence, `text ${sequence}`);
  for (let seed = 0; seed < 30; seed++) {
    const { handler, damages } = await replayed(await mount(fileSystem.crash(seed)));
    assert.deepEqual(handler?.texts, ['text 1', 'text 2', 'text 3', 'text 4', 'text 5']);
    assert.deepEqual(damages, []);
  }
});

test('without durable writes, sync is what makes frames survive; no power cut shows as damage (E20)', async () => {
  const fileSystem = machine();
  const journal = newJournal(await mount(fileSystem), 1);
  journal.durableWrites = false;
  await writeText(journal, 'c', 1, 'a'.repeat(9_000));
  await writeText(journal, 'c', 2, 'b'.repeat(9_000));
  await journal.sync();
  await writeText(journal, 'c', 3, 'c'.repeat(9_000));
  await writeText(journal, 'c', 4, 'd'.repeat(9_000));
  const counts = new Set<number>();
  for (let seed = 0; seed < 60; seed++) {
    const { handler, damages } = await replayed(await mount(fileSystem.crash(seed)));
    const letters = handler?.texts.map((text) => text?.[0]) ?? [];
    assert.deepEqual(letters, ['a', 'b', 'c', 'd'].slice(0, letters.length), `seed ${seed}`);
    assert.ok(letters.length >= 2, `seed ${seed}`);
    assert.deepEqual(damages, [], `seed ${seed}`);
    counts.add(letters.length);
  }
  assert.ok(counts.size > 1, 'power cuts differ');
});

test('a full file is left for one that names it and its end; all is read through (E4, E9)', async () => {
  const storage = await mount(machine());
  const journal = newJournal(storage, 7, 300);
  const numbers: number[] = [];
  for (let sequence = 1; sequence <= 6; sequence++) {
    numbers.push(await writeText(journal, 'c', sequence, `text ${sequence}`));
  }
  assert.deepEqual(numbers, [1, 1, 2, 2, 3, 3]);
  const headers = await headersOf(storage);
  assert.deepEqual(
    headers.map(({ epoch, number, predecessor }) => [epoch, number, predecessor]),
    [
      [7, 1, 0],
      [7, 2, 1],
      [7, 3, 2],
    ],
  );
  const sizes = journal.files.map((file) => file.bytes);
  assert.deepEqual(
    headers.slice(1).map(({ predecessorEnd }) => predecessorEnd),
    sizes.slice(0, 2),
  );
  assert.equal(
    journal.bytes,
    sizes.reduce((sum, bytes) => sum + bytes, 0),
  );
  assert.equal(new Set(headers.map(({ marker }) => marker.toString('hex'))).size, 3, 'a marker is its file’s own');
  const { handler } = await replayed(storage);
  assert.equal(handler?.texts.length, 6);
});

test('with a full disk a frame leaves nothing behind, and the next one stands in a successor (E4, NOSPACE)', async () => {
  const fileSystem = machine(64 * 1024);
  const storage = await mount(fileSystem);
  const journal = newJournal(storage, 1);
  await journal.writeRecovered();
  await writeText(journal, 'c', 1, 'kept');
  const end = journal.bytes;
  await assert.rejects(writeText(journal, 'c', 2, 'x'.repeat(200_000)), (error: WalError) => {
    assert.equal(error.code, 'NOSPACE');
    return /file:\/\/\/disks\/1 is full: nothing of this append is in the log/.test(error.message);
  });
  assert.equal((await storage.read('_journal/0000000001-0000000001.journal')).length, end);
  assert.equal(await writeText(journal, 'c', 2, 'after'), 2);
  const [, successor] = await headersOf(storage);
  assert.equal(successor?.predecessor, 1);
  assert.equal(successor?.predecessorEnd, end);
  for (let seed = 0; seed < 20; seed++) {
    const { handler, damages } = await replayed(await mount(fileSystem.crash(seed)));
    assert.deepEqual(handler?.texts, ['kept', 'after'], `seed ${seed}`);
    assert.deepEqual(damages, []);
  }
});

test('where no file can be made for want of room, the frame gets NOSPACE, and later ones go on (E4)', async () => {
  const fileSystem = machine();
  const journal = newJournal(await mount(fileSystem), 1, fileHeaderBytes + 1);
  await writeText(journal, 'c', 1, 'one');
  for (const operation of ['create', 'write', 'rename', 'syncDirectory'] as const) {
    fileSystem.failNext(operation, journalPattern, 'ENOSPC');
    await assert.rejects(writeText(journal, 'c', 2, 'two'), { code: 'NOSPACE' }, operation);
  }
  await writeText(journal, 'c', 2, 'two');
  await writeText(journal, 'c', 3, 'three');
  const { handler, damages } = await replayed(await mount(fileSystem.crash(1)));
  assert.deepEqual(handler?.texts, ['one', 'two', 'three']);
  assert.deepEqual(damages, []);
});

for (const code of ['EIO', 'ENOSPC'] as const) {
  test(`after a sync that failed with ${code} the journal takes nothing more, although the disk works again (R3)`, async () => {
    const fileSystem = machine();
    const storage = await mount(fileSystem);
    const journal = newJournal(storage, 1);
    journal.durableWrites = false;
    await writeText(journal, 'c', 1, 'one');
    fileSystem.failNext('sync', journalPattern, code);
    const failure = {
      code: 'UNAVAILABLE',
      message: /file:\/\/\/disks\/1: syncing 0000000001-0000000001\.journal failed/,
    };
    await assert.rejects(journal.sync(), failure);
    await assert.rejects(journal.sync(), failure);
    await assert.rejects(writeText(journal, 'c', 2, 'two'), failure);
    assert.deepEqual((await journalFiles(storage)).length, 1);
  });
}

test('after a failed synced write the journal takes nothing more; what was acknowledged is there (R3)', async () => {
  const fileSystem = machine();
  const journal = newJournal(await mount(fileSystem), 1);
  await writeText(journal, 'c', 1, 'one');
  fileSystem.failNext('sync', journalPattern, 'EIO');
  await assert.rejects(writeText(journal, 'c', 2, 'two'), { code: 'UNAVAILABLE' });
  await assert.rejects(writeText(journal, 'c', 2, 'two again'), { code: 'UNAVAILABLE' });
  for (let seed = 0; seed < 20; seed++) {
    const { handler } = await replayed(await mount(fileSystem.crash(seed)));
    assert.equal(handler?.texts[0], 'one');
    assert.ok(!handler.texts.includes('two again'));
  }
});

test('a failed write that cannot be cut off is not answered as NOSPACE (NOSPACE only if its cut is durable)', async () => {
  const fileSystem = machine(64 * 1024);
  const journal = newJournal(await mount(fileSystem), 1);
  await writeText(journal, 'c', 1, 'one');
  fileSystem.failNext('truncate', journalPattern, 'EIO');
  await assert.rejects(writeText(journal, 'c', 2, 'x'.repeat(200_000)), {
    code: 'UNAVAILABLE',
    message: /cutting 0000000001-0000000001\.journal after a failed write failed/,
  });
});

test('a quota that is used up is a full disk (EDQUOT)', async () => {
  const fileSystem = machine();
  const journal = newJournal(await mount(fileSystem), 1);
  await writeText(journal, 'c', 1, 'one');
  fileSystem.failNext('write', journalPattern, 'EDQUOT');
  await assert.rejects(writeText(journal, 'c', 2, 'two'), { code: 'NOSPACE' });
  await writeText(journal, 'c', 2, 'two');
});

test('files are freed oldest first, durably, and never the one being written (E9)', async () => {
  const fileSystem = machine();
  const storage = await mount(fileSystem);
  const journal = newJournal(storage, 1, 200);
  await journal.writeRecovered();
  for (let sequence = 1; sequence <= 6; sequence++) await writeText(journal, 'c', sequence, `text ${sequence}`);
  const before = journal.files.map((file) => file.name);
  assert.equal(before.length, 4);
  await journal.removeOldest();
  await journal.removeOldest();
  assert.deepEqual(
    journal.files.map((file) => file.name),
    before.slice(2),
  );
  const after = await mount(fileSystem.crash(5));
  assert.deepEqual(await journalFiles(after), before.slice(2));
  const { handler, damages } = await replayed(after);
  assert.deepEqual(handler?.texts, ['text 4', 'text 5', 'text 6']);
  assert.deepEqual(damages, [], 'what was freed is not missing');
});

test('the file being written cannot be freed', async () => {
  const journal = newJournal(await mount(machine()), 1);
  await assert.rejects(journal.removeOldest(), /cannot be freed/);
  await writeText(journal, 'c', 1, 'one');
  await assert.rejects(journal.removeOldest(), /cannot be freed/);
});

test('the synced offset of a frame is what was durable before it was written', async () => {
  const storage = await mount(machine());
  const journal = newJournal(storage, 1);
  journal.durableWrites = false;
  await writeText(journal, 'c', 1, 'one');
  await writeText(journal, 'c', 2, 'two');
  await journal.sync();
  const synced = journal.bytes;
  journal.durableWrites = true;
  await writeText(journal, 'c', 3, 'three');
  const durable = journal.bytes;
  await writeText(journal, 'c', 4, 'four');
  const { handler } = await replayed(storage);
  assert.deepEqual(
    handler?.headers.map((header) => header.syncedOffset),
    [fileHeaderBytes, fileHeaderBytes, synced, durable],
  );
});
