/** Bytes that went bad on the disk while no sidecar ran, and a disk without room: what is hit is named, the rest works. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { decodeFileHeader, decodeFrame, type FrameHeader, fileHeaderBytes } from '../sidecar/journal/frame.ts';
import { root } from './requirement.ts';
import { ErrorReply, type RespClient, readAll } from './resp-client.ts';
import { until } from './running-sidecar.ts';
import { append, homeOf, oneInEach, refusal, type Scene, testFault, testFaultNeeding } from './scene.ts';

const collections = ['a', 'b', 'c'];

interface JournalFile {
  readonly path: string;
  readonly bytes: Buffer;
  readonly frames: readonly FrameHeader[];
}

/** The newest journal file of the URL in `directory`. */
async function readJournal(scene: Scene, directory: string): Promise<JournalFile> {
  const names = await readdir(scene.workplace.path(directory, '_journal'));
  const newest =
    names
      .filter((name) => name.endsWith('.journal'))
      .toSorted()
      .at(-1) ?? '';
  const path = scene.workplace.path(directory, '_journal', newest);
  const bytes = await readFile(path);
  const header = decodeFileHeader(bytes);
  assert.ok(header, `${path} is a journal file`);
  const frames: FrameHeader[] = [];
  for (let offset = fileHeaderBytes; offset < bytes.length; ) {
    const decoded = decodeFrame(bytes, offset, header.marker, header.epoch);
    assert.ok(decoded.kind === 'frame', `a frame of ${path} stands at ${offset}`);
    frames.push(decoded.header);
    offset += decoded.header.headerBytes + decoded.header.bodyBytes;
  }
  return { path, bytes, frames };
}

/** The frame that holds an entry of the collection, alone. */
function frameOf({ frames }: JournalFile, collection: string, sequence: number): FrameHeader {
  const holds = ({ collections: [only], batches }: FrameHeader): boolean =>
    batches.length === 1 && only?.name === collection && only.first === sequence;
  const frame = frames.find(holds);
  assert.ok(frame, `a frame holds entry ${sequence} of ${collection}, alone`);
  return frame;
}

async function flipByte({ path, bytes }: JournalFile, offset: number): Promise<void> {
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 0x10, offset);
  await writeFile(path, bytes);
}

/** Three collections of one URL get two entries each, one frame an entry; then the sidecar is killed. */
async function killedWithSixFrames(scene: Scene): Promise<void> {
  const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
  for (const payload of ['first', 'second']) {
    for (const collection of collections) await append(client, collection, payload);
  }
  await sidecar.kill();
}

async function checkWhole(client: RespClient, collection: string, entries: number): Promise<void> {
  const read = await readAll(client, collection);
  assert.equal(read.length, entries, collection);
  assert.equal(await append(client, collection, 'next'), entries + 1);
}

async function checkDamaged(client: RespClient, collection: string, reason: RegExp): Promise<void> {
  assert.match(await refusal(append(client, collection, 'x')), reason);
  assert.match(await refusal(client.send('WAL.READ', collection, 0)), reason);
  assert.match(await refusal(client.send('WAL.EXPORT', collection, 0)), reason);
}

testFault('E20 E21 a damaged frame stops the collections that it names, until they are dropped', async (scene) => {
  await killedWithSixFrames(scene);
  const journal = await readJournal(scene, 'd1');
  const frame = frameOf(journal, 'b', 1);
  await flipByte(journal, frame.offset + frame.headerBytes + 3);
  const lost = /^DAMAGED entries 1 to 1 are lost to damage in the journal of file:\/\/\S*\/d1;.*drop the collection/;
  for (const entries of [2, 3]) {
    // The second time the damage is known from the state record: its epoch is void.
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
    await checkDamaged(client, 'b', lost);
    await checkWhole(client, 'a', entries);
    await checkWhole(client, 'c', entries);
    await sidecar.kill();
  }
  const kept = (await readdir(scene.workplace.path('d1', '_journal'))).filter((name) => name.startsWith('_damaged-'));
  assert.equal(kept.length, 1, 'the damaged file is kept aside');
  const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
  await client.send('WAL.DROP', 'b');
  assert.equal(await append(client, 'b', 'new'), 1);
  await sidecar.stop();
  const again = await scene.serve({ configuration: scene.configuration(['d1']) });
  await checkWhole(again.client, 'b', 1);
  await checkWhole(again.client, 'a', 4);
});

testFault(
  'E20 a frame with a damaged header stops those collections that nothing later proves whole',
  async (scene) => {
    await killedWithSixFrames(scene);
    const journal = await readJournal(scene, 'd1');
    // Behind it stands the second entry of c, which follows the first: nothing of c is missing.
    await flipByte(journal, frameOf(journal, 'b', 2).offset + 40);
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
    await checkWhole(client, 'c', 2);
    await checkDamaged(client, 'b', /^DAMAGED .*\/d1/);
    assert.ok(sidecar.logged('the journal is damaged'));
  },
);

testFault('E20 an unclean end is cut and reported; what stands before it is whole', async (scene) => {
  await killedWithSixFrames(scene);
  const { path, bytes } = await readJournal(scene, 'd1');
  await truncate(path, bytes.length - 5);
  const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
  const report = sidecar.logged('the journal had an unclean end: cut');
  assert.match(String(report?.['url']), /\/d1$/);
  await checkWhole(client, 'a', 2);
  await checkWhole(client, 'b', 2);
  // Its second entry was the last frame.
  await checkWhole(client, 'c', 1);
  await sidecar.kill();
  const again = await scene.serve({ configuration: scene.configuration(['d1']) });
  assert.equal(again.sidecar.logged('unclean end'), undefined);
  await checkWhole(again.client, 'c', 2);
});

testFault(
  'E16 a segment with a flipped byte answers DAMAGED and names the file; the others are read',
  async (scene) => {
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1']) });
    for (const collection of collections) await append(client, collection, Buffer.alloc(1000, 7));
    await client.send('WAL.FLUSH');
    await sidecar.stop();
    const directory = scene.workplace.path('d1', 'b');
    const name = (await readdir(directory)).find((file) => file.endsWith('.avro')) ?? '';
    const bytes = await readFile(`${directory}/${name}`);
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 500) ^ 1, bytes.length - 500);
    await writeFile(`${directory}/${name}`, bytes);
    const again = await scene.serve({ configuration: scene.configuration(['d1']) });
    assert.match(await refusal(again.client.send('WAL.READ', 'b', 0)), new RegExp(`^DAMAGED .*${name}`));
    await checkWhole(again.client, 'a', 1);
    await checkWhole(again.client, 'c', 1);
  },
);

testFault(
  'E16 collections are found without _collection.json, whatever their names; foreign directories are left alone',
  async (scene) => {
    const names = ['x', 'a.b', '..', '_under', 'Größe', '日本', 'with/slash', 'n'.repeat(400)];
    const { sidecar, client } = await scene.serve();
    for (const name of names) await append(client, name, name);
    await client.send('WAL.FLUSH');
    await sidecar.stop();
    for (const url of ['d1', 'd2']) {
      await mkdir(scene.workplace.path(url, 'lost+found'));
      await mkdir(scene.workplace.path(url, '_tmp-77'));
      const files = await readdir(scene.workplace.path(url), { recursive: true });
      const descriptions = files.filter((file) => file.endsWith('_collection.json'));
      for (const file of descriptions) await rm(scene.workplace.path(url, file));
    }
    const again = await scene.serve();
    const reply = await again.client.send('WAL.LIST', 0, 'COUNT', 100);
    const listed = Array.isArray(reply) && Array.isArray(reply[1]) ? reply[1].map(String) : [];
    assert.deepEqual(listed.toSorted(), names.toSorted());
    for (const name of names) {
      const [entry] = await readAll(again.client, name);
      assert.equal(String(entry?.payload), name);
      assert.equal(await append(again.client, name, 'next'), 2);
    }
    for (const url of ['d1', 'd2']) assert.ok((await readdir(scene.workplace.path(url))).includes('lost+found'));
  },
);

testFaultNeeding(
  [root],
  'R3 E7 a full disk: NOSPACE, reads and the other URL go on, and freeing resumes appends',
  async (scene) => {
    await mkdir(scene.workplace.path('d1'));
    await scene.mount('-t', 'tmpfs', '-o', 'size=32M', 'tmpfs', scene.workplace.path('d1'));
    const { sidecar, client } = await scene.serve();
    const names = await oneInEach(client, ['d1', 'd2']);
    const [full = '', other = ''] = [names.get('d1'), names.get('d2')];
    const room = await secondIn(client, 'd1', full);
    const acknowledged = await fill(client, full, room);
    assert.equal((await readAll(client, full)).length, acknowledged);
    assert.equal(await append(client, other, Buffer.alloc(100_000)), 2);
    assert.match(await refusal(append(client, full, 'x')), /^NOSPACE .*\/d1/);
    assert.ok(Number(await client.send('WAL.DROP', room)) > 0);
    await until('appends resume by themselves', async () => accepts(client, full));
    const entries = await readAll(client, full);
    await sidecar.kill();
    const again = await scene.serve();
    assert.deepEqual(await readAll(again.client, full), entries);
    assert.match(await refusal(again.client.send('WAL.STAT', room)), /^NOTFOUND/);
  },
);

testFaultNeeding(
  [root],
  'E19 a start on a full disk voids nothing: reads work, and appends once there is room',
  async (scene) => {
    await mkdir(scene.workplace.path('d1'));
    await scene.mount('-t', 'tmpfs', '-o', 'size=32M', 'tmpfs', scene.workplace.path('d1'));
    const before = await scene.serve();
    const names = await oneInEach(before.client, ['d1', 'd2']);
    const [full = '', other = ''] = [names.get('d1'), names.get('d2')];
    for (let number = 2; number <= 10; number++) await append(before.client, full, Buffer.alloc(100_000, number));
    const entries = await readAll(before.client, full);
    await before.sidecar.kill();
    const hog = scene.workplace.path('d1', 'hog');
    await assert.rejects(writeFile(hog, Buffer.alloc(64 * 1024 * 1024)), { code: 'ENOSPC' });
    for (const restart of ['first', 'second']) {
      const { sidecar, client } = await scene.serve();
      assert.deepEqual(await readAll(client, full), entries, `${restart} restart`);
      assert.match(await refusal(append(client, full, 'x')), /^NOSPACE .*\/d1/);
      assert.equal(Number(await append(client, other, 'x')), restart === 'first' ? 2 : 3);
      if (restart === 'second') {
        await rm(hog);
        await until('appends resume by themselves', async () => accepts(client, full));
        assert.equal((await readAll(client, full)).length, entries.length + 1);
      }
      await sidecar.kill();
    }
    const after = await scene.serve();
    assert.deepEqual((await readAll(after.client, full)).slice(0, -1), entries);
  },
);

/** Another collection that lies in the directory. */
async function secondIn(client: RespClient, directory: string, first: string): Promise<string> {
  for (let number = 1; ; number++) {
    const collection = `further-${number}`;
    await append(client, collection, 'first');
    if (collection !== first && (await homeOf(client, collection)) === directory) return collection;
  }
}

/** Appends to both until one is refused for lack of room; resolves with the number of entries that the first has. */
async function fill(client: RespClient, collection: string, room: string): Promise<number> {
  let entries = 1;
  for (;;) {
    try {
      await append(client, room, Buffer.alloc(500_000, 1));
      entries = Number(await append(client, collection, Buffer.alloc(20_000, 2)));
    } catch (error) {
      if (error instanceof ErrorReply && error.code === 'NOSPACE') return entries;
      throw error;
    }
  }
}

async function accepts(client: RespClient, collection: string): Promise<boolean> {
  try {
    await append(client, collection, 'again');
    return true;
  } catch (error) {
    if (error instanceof ErrorReply && error.code === 'NOSPACE') return false;
    throw error;
  }
}
