import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { collectionFileName, createCollectionFile } from './collection-file.ts';
import { escapeCollection } from './directory-name.ts';
import { discover } from './discovery.ts';

const incarnation = 'a1'.repeat(16);
const assignedAt = '2026-11-22T10:00:00.000Z';

async function openStorage(fileSystem = new SimulatedFileSystem({ seed: 1 })): Promise<Storage> {
  const storage = openFileStorage('file:///mnt/d1', '/mnt/d1', fileSystem);
  await storage.lock('test', 0);
  return storage;
}

test('collections are found with and without _collection.json, hashed names with it', async () => {
  const storage = await openStorage();
  const long = 'ü'.repeat(200);
  await createCollectionFile(storage, { collection: 'orders', incarnation, assignedAt });
  await createCollectionFile(storage, { collection: long, incarnation, assignedAt });
  await storage.createDirectory('a.b');
  const { collections } = await discover(storage);
  const file = { incarnation, assignedAt };
  assert.deepEqual(
    collections,
    [
      { directory: 'a.b', collection: 'a.b', incarnation: undefined, assignedAt: undefined },
      { directory: escapeCollection(long), collection: long, ...file },
      { directory: 'orders', collection: 'orders', ...file },
    ].toSorted((one, other) => (one.directory < other.directory ? -1 : 1)),
  );
});

test('origin: temporary directories could pass for collections: the system’s and foreign names are none', async () => {
  const storage = await openStorage();
  for (const name of ['_journal', '_tmp', '.snapshot', 'lost+found', 'New folder']) await storage.createDirectory(name);
  await storage.publish('stray', [Buffer.from('a file is no collection')]);
  const { collections, foreign } = await discover(storage);
  assert.deepEqual(collections, []);
  assert.deepEqual(foreign.toSorted(), ['New folder', 'lost+found']);
});

test('origin: a directory that could not be listed looked empty: it is an error (R6)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await openStorage(fileSystem);
  fileSystem.failNext('list', /d1$/, 'EIO');
  await assert.rejects(discover(storage), { code: 'EIO' });
  const absent = openFileStorage('file:///mnt/d2', '/mnt/d2', fileSystem);
  await assert.rejects(discover(absent), { code: 'ENOENT' });
});

test('a _collection.json that cannot be read is an error, not an absent one (R6)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await openStorage(fileSystem);
  await createCollectionFile(storage, { collection: 'orders', incarnation, assignedAt });
  fileSystem.failNext('open', /_collection\.json$/, 'EIO');
  await assert.rejects(discover(storage), { code: 'EIO' });
});

test('a damaged _collection.json is damaged, not absent, and says what is wrong', async () => {
  const storage = await openStorage();
  const rows: [content: string, problem: RegExp][] = [
    ['', /no JSON object/],
    ['[]', /no JSON object/],
    ['{"collection":"orders"', /no JSON object/],
    ['{}', /no "collection"/],
    [
      JSON.stringify({ collection: 'other', incarnation, assigned_at: assignedAt }),
      /"other", which belongs into other/,
    ],
    [JSON.stringify({ collection: 'orders', incarnation: 'A1', assigned_at: assignedAt }), /incarnation/],
    [JSON.stringify({ collection: 'orders', incarnation, assigned_at: 'soon' }), /assigned_at/],
  ];
  await storage.createDirectory('orders');
  for (const [content, problem] of rows) {
    await storage.publish(`orders/${collectionFileName}`, [Buffer.from(content)]);
    const [found] = (await discover(storage)).collections;
    assert.equal(found?.collection, 'orders');
    assert.match(found?.damaged ?? '', problem);
    await assert.rejects(createCollectionFile(storage, { collection: 'orders', incarnation, assignedAt }), {
      code: 'DAMAGED',
    });
  }
});

test('E14: a second attempt finds the file of the first and keeps its incarnation', async () => {
  const storage = await openStorage();
  const first = { collection: 'orders', incarnation, assignedAt };
  assert.deepEqual(await createCollectionFile(storage, first), first);
  const second = { collection: 'orders', incarnation: 'b2'.repeat(16), assignedAt: new Date().toISOString() };
  assert.deepEqual(await createCollectionFile(storage, second), first);
});

test('the file on disk is what interfaces section 4 says', async () => {
  const storage = await openStorage();
  await createCollectionFile(storage, { collection: 'orders', incarnation, assignedAt });
  const content: unknown = JSON.parse((await storage.read(`orders/${collectionFileName}`)).toString());
  assert.deepEqual(content, { collection: 'orders', incarnation, assigned_at: assignedAt });
});

test('files that a dead process left beside the directories are told apart from foreign ones', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await openStorage(fileSystem);
  await (await fileSystem.create('/mnt/d1/_tmp-1')).close();
  assert.deepEqual((await discover(storage)).temporary, ['_tmp-1']);
});
