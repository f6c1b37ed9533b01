import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectionFileName } from '../assignment/collection-file.ts';
import { damagedPrefix, journalDirectory } from '../journal/file-name.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { append, closeEngine, openEngine, payloads } from './engine.fixture.ts';
import { segmentName } from './segment.ts';

const one = { urls: 1 } as const;
const all = ['1', '2', '3', '4', '5', '6', '7'];

/** What a sidecar leaves behind that had `a` in segments 1–2, 3–4, 5–6 and one entry in its journal, which has all of them. */
async function left(change: (storage: Storage) => Promise<void>): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const { engine, urls, ...rest } = await openEngine(fileSystem, one);
  for (const batch of [
    ['1', '2'],
    ['3', '4'],
    ['5', '6'],
  ]) {
    await append(engine, 'a', batch);
    await engine.flush('a');
  }
  await append(engine, 'a', ['7']);
  // A crash: a shutdown would flush what is only in the journal.
  engine.abandon();
  const storage = urls[0]?.storage;
  assert.ok(storage);
  await change(storage);
  rest.assignments.close();
  await storage.unlock();
  return fileSystem;
}

const garbage = [Buffer.from('no Avro')];

const losses: readonly [string, (storage: Storage) => Promise<void>][] = [
  ['nothing', async () => undefined],
  ['the first', (storage) => storage.remove('a', [segmentName(1, 2)])],
  ['one in the middle', (storage) => storage.remove('a', [segmentName(3, 4)])],
  ['the last', (storage) => storage.remove('a', [segmentName(5, 6)])],
  ['all', (storage) => storage.remove('a', [segmentName(1, 2), segmentName(3, 4), segmentName(5, 6)])],
  ['the first, unreadable', (storage) => storage.publish(`a/${segmentName(1, 2)}`, garbage)],
  ['one in the middle, empty', (storage) => storage.publish(`a/${segmentName(3, 4)}`, [])],
  ['the last, unreadable', (storage) => storage.publish(`a/${segmentName(5, 6)}`, garbage)],
  [
    'none, but a file has a name that takes in two of them',
    (storage) => storage.publish(`a/${segmentName(1, 4)}`, garbage),
  ],
];

for (const [what, change] of losses) {
  test(`a lost segment comes back from the journal, if that still has its entries: ${what} (R1)`, async () => {
    const fileSystem = await left(change);
    for (let start = 0; start < 2; start++) {
      const opened = await openEngine(fileSystem, one);
      assert.deepEqual(await payloads(opened.engine, 'a'), all);
      opened.engine.abandon();
      opened.assignments.close();
      await opened.urls[0]?.storage?.unlock();
    }
    const opened = await openEngine(fileSystem, one);
    assert.equal(await append(opened.engine, 'a', ['8']), 8);
    await opened.engine.flush('a');
    assert.deepEqual(await payloads(opened.engine, 'a'), [...all, '8']);
    await closeEngine(opened);
  });
}

test('where a segment cannot be mended, the journal that has its entries is kept aside (E21)', async () => {
  const fileSystem = await left((storage) => storage.remove('a', [segmentName(1, 2)]));
  fileSystem.failNext('write', /disks\/1\/a\//, 'EIO');
  const opened = await openEngine(fileSystem, one);
  await assert.rejects(payloads(opened.engine, 'a'), { code: 'DAMAGED' });
  const names = await opened.urls[0]?.storage?.list(journalDirectory);
  assert.ok(names?.some(({ name }) => name.startsWith(damagedPrefix)));
  await closeEngine(opened);
});

for (const text of ['', 'no JSON', '{"collection":"b","incarnation":"x"}']) {
  test(`a ${collectionFileName} that cannot be understood is written anew from what the log proves: ${text}`, async () => {
    const fileSystem = await left((storage) => storage.publish(`a/${collectionFileName}`, [Buffer.from(text)]));
    const opened = await openEngine(fileSystem, one);
    assert.deepEqual(await payloads(opened.engine, 'a'), all);
    const file = JSON.parse(String(await opened.urls[0]?.storage?.read(`a/${collectionFileName}`)));
    assert.equal(file.incarnation, opened.engine.statistics('a').incarnation);
    await closeEngine(opened);
  });
}
