import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { fileHeaderBytes } from './frame.ts';
import { Collector, flipBit, journalFiles, mount, newJournal, replayed, spoil, writeText } from './journal.fixture.ts';
import type { Journal } from './journal.ts';
import { replayJournal } from './replay.ts';

async function fresh(): Promise<Storage> {
  return mount(new SimulatedFileSystem({ seed: 1 }));
}

/** An epoch with one frame for each text, in files of `fileBytesMax`. */
async function writeEpoch(
  storage: Storage,
  epoch: number,
  texts: readonly string[],
  { recovered = true, fileBytesMax = 1024 * 1024 } = {},
): Promise<Journal> {
  const journal = newJournal(storage, epoch, fileBytesMax);
  if (recovered) await journal.writeRecovered();
  for (const [index, text] of texts.entries()) await writeText(journal, 'c', index + 1, text);
  return journal;
}

const fileName = (epoch: number, number: number): string =>
  `${String(epoch).padStart(10, '0')}-${String(number).padStart(10, '0')}.journal`;

/** Where the body of the frame with this text stands in a file. */
async function offsetOf(storage: Storage, name: string, text: string): Promise<number> {
  const offset = (await storage.read(`_journal/${name}`)).indexOf(text);
  assert.ok(offset > 0, text);
  return offset;
}

test('where there is no journal, nothing is found and nothing is wrong', async () => {
  const storage = await fresh();
  const { handler, highestEpoch, files, damages, uncleanEnd, bytes } = await replayed(storage);
  assert.deepEqual([handler, highestEpoch, files, damages, uncleanEnd, bytes], [undefined, 0, [], [], undefined, 0]);
});

test('a journal directory that cannot be listed is an error, not an empty journal (R6)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await mount(fileSystem);
  await writeEpoch(storage, 1, ['one']);
  for (const operation of ['list', 'stat', 'open', 'read'] as const) {
    fileSystem.failNext(operation, /_journal/, 'EIO');
    await assert.rejects(replayed(storage), { code: 'EIO' }, operation);
  }
});

test('the newest epoch with a recovered frame counts; older ones are void (E17)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['old']);
  await writeEpoch(storage, 2, ['new']);
  const { handler, highestEpoch, files } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['new']);
  assert.equal(highestEpoch, 2);
  assert.deepEqual(files, [fileName(1, 1), fileName(2, 1)]);
});

test('epochs without a recovered frame are passed over, however many; their numbers are not used again (E18)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 3, ['kept']);
  await writeEpoch(storage, 4, ['copy'], { recovered: false });
  await writeEpoch(storage, 5, [], { recovered: false });
  await writeEpoch(storage, 6, ['copy', 'copy'], { recovered: false });
  const { handler, highestEpoch } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['kept']);
  assert.equal(highestEpoch, 6);
});

test('damage in an epoch that does not count is no damage (E18)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['kept']);
  await writeEpoch(storage, 2, ['copy one', 'copy two'], { recovered: false });
  const offset = await offsetOf(storage, fileName(2, 1), 'copy one');
  await spoil(storage, fileName(2, 1), (bytes) => flipBit(bytes, offset));
  const { handler, damages } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['kept']);
  assert.deepEqual(handler?.damages, []);
  assert.deepEqual(damages, []);
});

test('a later frame proves its epoch where the recovered frame itself is damaged or freed (E17)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['old']);
  const journal = await writeEpoch(storage, 2, ['one', 'two', 'three'], { fileBytesMax: 200 });
  await spoil(storage, fileName(2, 1), (bytes) => flipBit(bytes, fileHeaderBytes + 20));
  const damaged = await replayed(storage);
  assert.equal(damaged.handler?.texts.at(-1), 'three');
  assert.deepEqual(
    damaged.damages.map(({ file, offset }) => [file, offset]),
    [[fileName(2, 1), fileHeaderBytes]],
  );
  await journal.removeOldest();
  const freed = await replayed(storage);
  assert.deepEqual(freed.damages, []);
  assert.equal(freed.handler?.texts.at(-1), 'three');
});

test('of the very first epoch, begun and not finished, what stands there is read: it is nothing', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, [], { recovered: false });
  const { handler, highestEpoch } = await replayed(storage);
  assert.deepEqual(handler?.texts ?? [], []);
  assert.ok(highestEpoch <= 1);
});

test('a bad frame below a later synced offset is damage of the collections it names; what follows is read (E20)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two', 'three']);
  const offset = await offsetOf(storage, fileName(1, 1), 'two');
  await spoil(storage, fileName(1, 1), (bytes) => flipBit(bytes, offset));
  const { handler, damages, uncleanEnd } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['one', undefined, 'three']);
  assert.equal(uncleanEnd, undefined);
  assert.deepEqual(handler?.damages, damages);
  const [damage] = damages;
  assert.equal(damage?.file, fileName(1, 1));
  assert.equal((damage?.offset ?? 0) + (damage?.bytes ?? 0), offset + 'two'.length);
  assert.deepEqual(
    damage?.collections?.map(({ name, first, last }) => [name, first, last]),
    [['c', 2, 2]],
  );
});

test('a bad header below a later synced offset is damage of nobody knows whom; what follows is read (E20)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two', 'three']);
  const before = (await offsetOf(storage, fileName(1, 1), 'one')) + 'one'.length;
  await spoil(storage, fileName(1, 1), (bytes) => flipBit(bytes, before + 40));
  const { handler, damages } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['one', 'three']);
  assert.deepEqual(
    damages.map(({ offset, collections }) => [offset, collections]),
    [[before, undefined]],
  );
});

test('a bad frame above every later synced offset is an unclean end; whole frames behind it are not read (E20)', async () => {
  const storage = await fresh();
  const journal = await writeEpoch(storage, 1, ['one']);
  journal.durableWrites = false;
  await writeText(journal, 'c', 2, 'two');
  await writeText(journal, 'c', 3, 'three');
  const offset = await offsetOf(storage, fileName(1, 1), 'two');
  await spoil(storage, fileName(1, 1), (bytes) => flipBit(bytes, offset));
  const { handler, damages, uncleanEnd } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['one']);
  assert.deepEqual(damages, []);
  assert.equal(uncleanEnd?.file, fileName(1, 1));
  assert.ok((uncleanEnd?.offset ?? 0) < offset);
});

test('bytes beyond the end that a successor names are not read, whole frames included (E4)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two'], { fileBytesMax: 200 });
  const first = fileName(1, 1);
  const bytes = await storage.read(`_journal/${first}`);
  const journal = await writeEpoch(storage, 2, ['kept', 'moved'], { fileBytesMax: 1 });
  assert.equal(journal.files.length, 3);
  await spoil(storage, fileName(2, 2), (valid) => Buffer.concat([valid, bytes, Buffer.alloc(5000)]));
  const { handler, damages, uncleanEnd } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['kept', 'moved']);
  assert.deepEqual([damages, uncleanEnd], [[], undefined]);
});

test('a file that is shorter than its successor says, or whose last frame is bad, is damaged (E4, E20)', async () => {
  for (const change of [
    (bytes: Buffer) => bytes.subarray(0, -3),
    (bytes: Buffer) => flipBit(bytes, bytes.length - 1),
    (bytes: Buffer) => bytes.subarray(0, fileHeaderBytes),
  ]) {
    const storage = await fresh();
    await writeEpoch(storage, 1, ['one', 'two', 'three'], { fileBytesMax: 200 });
    await spoil(storage, fileName(1, 1), change);
    const { handler, damages, uncleanEnd } = await replayed(storage);
    assert.equal(damages[0]?.file, fileName(1, 1));
    assert.equal(handler?.texts.at(-1), 'three');
    assert.equal(uncleanEnd, undefined);
  }
});

test('a missing file between two others is damage; missing ones before the first were freed (E9, E20)', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two', 'three', 'four'], { fileBytesMax: 200 });
  const names = await journalFiles(storage);
  assert.equal(names.length, 3);
  await storage.remove('_journal', names.slice(1, 2));
  const missing = await replayed(storage);
  assert.equal(missing.damages.length, 1);
  assert.match(missing.damages[0]?.file ?? '', /number 2, is missing/);
  assert.equal(missing.damages[0]?.collections, undefined);
  assert.equal(missing.handler?.texts.at(-1), 'four');
  await storage.remove('_journal', names.slice(0, 1));
  const freed = await replayed(storage);
  assert.deepEqual(freed.damages, []);
  assert.deepEqual(freed.handler?.texts, ['four']);
});

test('a file whose header is damaged is damage of unknown extent, wherever it stands', async () => {
  for (const number of [1, 2, 3]) {
    const storage = await fresh();
    await writeEpoch(storage, 1, ['one', 'two', 'three', 'four'], { fileBytesMax: 200 });
    await spoil(storage, fileName(1, number), (bytes) => flipBit(bytes, 30));
    const { handler, damages } = await replayed(storage);
    assert.deepEqual(
      damages.map(({ file, offset, collections }) => [file, offset, collections]),
      [[fileName(1, number), 0, undefined]],
    );
    assert.ok(handler && handler.texts.length < 4 && handler.texts.length > 0);
  }
});

test('a file under another’s name is damage, not entries of that epoch or number', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two', 'three'], { fileBytesMax: 200 });
  const stale = await storage.read(`_journal/${fileName(1, 1)}`);
  await spoil(storage, fileName(1, 2), () => stale);
  const { handler, damages } = await replayed(storage);
  assert.equal(damages[0]?.file, fileName(1, 2));
  assert.ok(!handler?.texts.slice(1).includes('one'));
});

test('names that are no journal file’s are left alone', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one']);
  for (const name of ['_damaged-0000000001-0000000001.journal', '_tmp-1', 'note.txt', '1-2.journal']) {
    await storage.publish(`_journal/${name}`, [Buffer.from('anything')]);
  }
  const { handler, files, damages } = await replayed(storage);
  assert.deepEqual(handler?.texts, ['one']);
  assert.deepEqual(files, [fileName(1, 1)]);
  assert.deepEqual(damages, []);
});

test('reading twice gives the same: replay changes nothing', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['one', 'two', 'three'], { fileBytesMax: 200 });
  const offset = await offsetOf(storage, fileName(1, 1), 'one');
  await spoil(storage, fileName(1, 1), (bytes) => flipBit(bytes, offset));
  const [first, second] = [await replayed(storage), await replayed(storage)];
  assert.deepEqual(first, second);
});

test('each epoch that is tried is given to a handler of its own', async () => {
  const storage = await fresh();
  await writeEpoch(storage, 1, ['kept']);
  await writeEpoch(storage, 2, ['copy'], { recovered: false });
  const handlers: Collector[] = [];
  const { handler } = await replayJournal(storage, () => {
    const made = new Collector();
    handlers.push(made);
    return made;
  });
  assert.equal(handler, handlers[1]);
  assert.deepEqual(
    handlers.map((made) => made.texts),
    [['copy'], ['kept']],
  );
});
