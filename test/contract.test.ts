/** What other people's programs rely on to the letter (interfaces): keys and their order, file names, contents of files. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { escapeCollection } from '../sidecar/assignment/directory-name.ts';
import { asMap, readAll } from './resp-client.ts';
import { until } from './running-sidecar.ts';
import { append, homeOf, testFault } from './scene.ts';

const statisticsKeys =
  'collection url path incarnation first_sequence next_sequence checkpoint entries bytes memory_bytes segments last_append_us';
const assignmentKeys = 'component collection url path index assigned_at';

testFault(
  'section 3: WAL.STAT after a kill and after a shutdown is what it was, the last append included',
  async (scene) => {
    let { sidecar, client } = await scene.serve();
    for (const payload of ['1', '2', '3']) await append(client, 'orders', payload);
    await client.send('WAL.CHECKPOINT', 'orders', 1);
    const before = asMap(await client.send('WAL.STAT', 'orders'));
    assert.equal([...before.keys()].join(' '), statisticsKeys);
    const last = (await readAll(client, 'orders')).at(-1);
    assert.equal(before.get('last_append_us'), String(last?.timestampUs));
    for (const end of [() => sidecar.kill(), () => sidecar.stop()]) {
      await end();
      ({ sidecar, client } = await scene.serve());
      const after = asMap(await client.send('WAL.STAT', 'orders'));
      for (const key of ['memory_bytes', 'segments']) after.set(key, before.get(key) ?? '');
      assert.deepEqual(after, before);
    }
  },
);

testFault('section 4: the files below a URL, their names and their keys', async (scene) => {
  const { client } = await scene.serve({ configuration: scene.configuration(['d1']) });
  assert.equal(await append(client, 'a/b', '1'), 1);
  assert.equal(await client.send('WAL.FLUSH', 'a/b'), 1);
  const url = `file://${scene.workplace.path('d1')}`;
  const assignment = asMap(await client.send('WAL.ASSIGN', 'wal', 'a/b'));
  assert.equal([...assignment.keys()].join(' '), assignmentKeys);
  assert.deepEqual([assignment.get('url'), assignment.get('path')], [url, `${url}/a%2Fb`]);
  const directory = scene.workplace.path('d1', 'a%2Fb');
  const segments = async (): Promise<string[]> =>
    (await readdir(directory)).filter((name) => name.endsWith('.avro')).toSorted();
  assert.deepEqual(await segments(), ['00000000000000000001-00000000000000000001.avro']);
  const collectionFile: Record<string, string> = JSON.parse(await readFile(`${directory}/_collection.json`, 'utf8'));
  assert.deepEqual(collectionFile, {
    collection: 'a/b',
    incarnation: asMap(await client.send('WAL.STAT', 'a/b')).get('incarnation'),
    assigned_at: assignment.get('assigned_at'),
  });
  assert.match(collectionFile['incarnation'] ?? '', /^[0-9a-f]{32}$/);
  assert.match(collectionFile['assigned_at'] ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  const urlFile: { readonly id: string } = JSON.parse(await readFile(scene.workplace.path('d1', '_url.json'), 'utf8'));
  assert.match(urlFile.id, /^[0-9a-f]{32}$/);
  assert.deepEqual(urlFile, { id: urlFile.id, component: 'wal', affinity_was_false: false, others: [], forgotten: [] });
  assert.equal(await client.send('WAL.CHECKPOINT', 'a/b', 1), 2);
  await until('all is trimmed', async () => (await segments())[0]?.startsWith('00000000000000000002-') ?? false);
  assert.deepEqual(await segments(), ['00000000000000000002-00000000000000000001.avro']);
});

testFault(
  'origin: row 5, discovery rebuilds the map from directories alone, and tells how many collections it found',
  async (scene) => {
    const names = ['a', 'b.c', 'short', 'with spaces', 'longer than eight', 'ü', 'seventh'];
    const first = await scene.serve();
    for (const name of names) await append(first.client, name, `of ${name}`);
    await first.client.send('WAL.FLUSH');
    const homes = new Map<string, string>();
    for (const name of names) homes.set(name, await homeOf(first.client, name));
    assert.equal(await first.sidecar.stop(), 0);
    for (const [name, home] of homes) await rm(scene.workplace.path(home, escapeCollection(name), '_collection.json'));
    const { sidecar, client } = await scene.serve();
    assert.deepEqual(sidecar.logged('serving')?.['collections'], { wal: names.length });
    for (const name of names) {
      assert.equal(await homeOf(client, name), homes.get(name));
      assert.deepEqual(
        (await readAll(client, name)).map(({ payload }) => payload.toString()),
        [`of ${name}`],
      );
    }
  },
);
