/**
 * Storage URLs that are not there, or cannot be used: who is hit is told so in a sentence that names the URL, and everybody else
 * goes on.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { root } from './requirement.ts';
import { type RespClient, readAll } from './resp-client.ts';
import { append, oneInEach, refusal, type Scene, testFault, testFaultNeeding } from './scene.ts';

const unknownName = 'never-seen-before';

/** Runs a sidecar until each of its two URLs holds a collection; resolves with their names. */
async function twoCollections(scene: Scene): Promise<{ one: string; two: string }> {
  const { sidecar, client } = await scene.serve();
  const found = await oneInEach(client, ['d1', 'd2']);
  assert.equal(await sidecar.stop(), 0);
  return { one: found.get('d1') ?? '', two: found.get('d2') ?? '' };
}

/** d2 is out of order: its collection and unknown ones are refused with its name, the other one takes and gives entries. */
async function checkWithoutD2(client: RespClient, { one, two }: { one: string; two: string }): Promise<void> {
  const reason = /^UNAVAILABLE .*file:\/\/\S*\/d2/;
  assert.match(await refusal(append(client, two, 'x')), reason);
  assert.match(await refusal(client.send('WAL.READ', two, 0)), reason);
  assert.match(await refusal(append(client, unknownName, 'x')), reason);
  assert.equal(await append(client, one, 'more'), 2);
  assert.equal((await readAll(client, one)).length, 2);
}

/** All is well again: everything is found, and new collections are made. */
async function checkAllIsBack(scene: Scene, { one, two }: { one: string; two: string }): Promise<void> {
  const { client } = await scene.serve();
  assert.deepEqual(
    (await readAll(client, two)).map(({ payload }) => payload.toString()),
    ['first'],
  );
  assert.equal((await readAll(client, one)).length, 2);
  assert.equal(await append(client, unknownName, 'x'), 1);
}

testFault(
  'R6 E26 a known URL that is gone: its collections and unknown ones are refused, the others go on',
  async (scene) => {
    const names = await twoCollections(scene);
    const { workplace } = scene;
    await rename(workplace.path('d2'), workplace.path('elsewhere'));
    const { sidecar, client } = await scene.serve();
    await checkWithoutD2(client, names);
    assert.ok(!(await readdir(workplace.directory)).includes('d2'), 'a lost directory is not made anew');
    assert.equal(sidecar.logged('a storage URL does not work')?.['state'], 'Missing');
    await sidecar.stop();
    await rename(workplace.path('elsewhere'), workplace.path('d2'));
    await checkAllIsBack(scene, names);
  },
);

testFault('R6 E26 an empty directory where a known URL was (a disk not mounted) is not taken for it', async (scene) => {
  const names = await twoCollections(scene);
  const { workplace } = scene;
  await rename(workplace.path('d2'), workplace.path('elsewhere'));
  await mkdir(workplace.path('d2'));
  const { sidecar, client } = await scene.serve();
  await checkWithoutD2(client, names);
  assert.deepEqual(await readdir(workplace.path('d2')), [], 'nothing is written into it');
  await sidecar.stop();
  await rm(workplace.path('d2'), { recursive: true });
  await rename(workplace.path('elsewhere'), workplace.path('d2'));
  await checkAllIsBack(scene, names);
});

testFault(
  'E26 a known URL that is configured no longer: unknown collections are refused with its name',
  async (scene) => {
    const { one, two } = await twoCollections(scene);
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
    for (const name of [two, unknownName]) {
      assert.match(await refusal(append(client, name, 'x')), /^UNAVAILABLE .*file:\/\/\S*\/d2 .*configured no longer/);
    }
    assert.equal(await append(client, one, 'more'), 2);
    await sidecar.stop();
    await checkAllIsBack(scene, { one, two });
  },
);

testFault('E26 an s3:// URL in the configuration: its collections cannot be known, the others go on', async (scene) => {
  const { one, two } = await twoCollections(scene);
  const { sidecar, client } = await scene.serve({
    configuration: scene.configuration(['d1', 'd2', 's3://bucket/wal']),
  });
  assert.match(await refusal(append(client, unknownName, 'x')), /^UNAVAILABLE .*s3:\/\/bucket\/wal/);
  assert.equal(await append(client, one, 'more'), 2);
  assert.equal((await readAll(client, two)).length, 1);
  await sidecar.stop();
  await checkAllIsBack(scene, { one, two });
});

testFault(
  'R3 a file where a URL has its directory: that URL alone is Unavailable, and the file is left alone',
  async (scene) => {
    const names = await twoCollections(scene);
    const { workplace } = scene;
    await rename(workplace.path('d2'), workplace.path('elsewhere'));
    await writeFile(workplace.path('d2'), 'in the way');
    const { sidecar, client } = await scene.serve();
    await checkWithoutD2(client, names);
    assert.equal(await readFile(workplace.path('d2'), 'utf8'), 'in the way');
    assert.equal(sidecar.logged('a storage URL does not work')?.['state'], 'Unavailable');
    await sidecar.stop();
    await rm(workplace.path('d2'));
    await rename(workplace.path('elsewhere'), workplace.path('d2'));
    await checkAllIsBack(scene, names);
  },
);

testFaultNeeding(
  [root],
  'R3 a directory that cannot be written (a read-only mount): that URL alone is Unavailable',
  async (scene) => {
    const names = await twoCollections(scene);
    const directory = scene.workplace.path('d2');
    await scene.mount('-o', 'bind,ro', directory, directory);
    const { sidecar, client } = await scene.serve();
    await checkWithoutD2(client, names);
    await sidecar.stop();
    await scene.unmount();
    await checkAllIsBack(scene, names);
  },
);
