import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DiskFileSystem } from '../storage/disk.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { collections, manage, mounts, newId, openService } from './assignment.fixture.ts';
import type { Assignment, Component, ManagedUrl, Strategy } from './assignment.ts';
import { collectionFileName } from './collection-file.ts';
import type { AssignmentService } from './service.ts';
import { urlFileName } from './url-file.ts';
import type { WalHooks } from './wal-hooks.ts';

const newMachine = (shuffled = false): SimulatedFileSystem => new SimulatedFileSystem({ seed: 1, shuffled });

async function start(
  machine: SimulatedFileSystem,
  count = 4,
  strategy: Strategy = 'RoundRobin',
  component: Component = 'viper',
): Promise<{ urls: ManagedUrl[]; service: AssignmentService }> {
  const urls = manage(machine, component, mounts(count));
  return { urls, service: await openService(urls, strategy) };
}

const perUrl = (service: AssignmentService, component: Component = 'viper'): number[] =>
  service.statistics(component).map((url) => url.collections);

async function assignAll(service: AssignmentService, names: readonly string[]): Promise<Assignment[]> {
  return await Promise.all(names.map((name) => service.assign('viper', name)));
}

function storageOf(url: ManagedUrl | undefined) {
  assert.ok(url?.storage !== undefined);
  return url.storage;
}

const utf8 = (text: string): Buffer => Buffer.from(text);

test('an assignment names the URL, its directory and its time, and never changes (R4)', async () => {
  const { service } = await start(newMachine());
  const first = await service.assign('viper', 'a/b');
  const { incarnation, assignedAt, ...rest } = first;
  assert.deepEqual(rest, {
    component: 'viper',
    collection: 'a/b',
    url: 'file:///mnt/d1',
    path: 'file:///mnt/d1/a%2Fb',
    index: 0,
  });
  assert.match(incarnation, /^[0-9a-f]{32}$/);
  assert.equal(new Date(assignedAt).toISOString(), assignedAt);
  assert.deepEqual(await service.assign('viper', 'a/b'), first);
  assert.deepEqual(service.get('viper', 'a/b'), first);
  assert.equal(service.get('viper', 'other'), undefined);
});

test('RoundRobin: ten collections at once over four URLs: 3/3/2/2', async () => {
  const { service } = await start(newMachine(true));
  await assignAll(service, collections(10));
  assert.deepEqual(perUrl(service), [3, 3, 2, 2]);
});

test('origin: the round-robin counter restarted at 0: after each restart the round goes on', async () => {
  let machine = newMachine();
  for (const name of collections(10)) {
    const { service } = await start(machine);
    await service.assign('viper', name);
    machine = machine.kill(1);
  }
  assert.deepEqual(perUrl((await start(machine)).service), [3, 3, 2, 2]);
});

test('origin: check-then-record was not atomic: a hundred first writers get one URL, one incarnation, one directory', async () => {
  const { urls, service } = await start(newMachine(true));
  const answers = await Promise.all(Array.from({ length: 100 }, () => service.assign('viper', 'orders')));
  assert.equal(new Set(answers).size, 1);
  const lists = await Promise.all(urls.map((url) => storageOf(url).list('')));
  assert.equal(lists.flat().filter((entry) => entry.name === 'orders').length, 1);
  assert.deepEqual(perUrl(service), [1, 0, 0, 0]);
});

test('origin: two places assigned by different rules: what is assigned is found again as it was, names of any form', async () => {
  const machine = newMachine();
  const names = ['a', 'x.y', '.hidden', '_system', 'lost+found', '../etc', 'größe', 'x'.repeat(512), '%41', ' '];
  const before = await assignAll((await start(machine)).service, names);
  const { service } = await start(machine.kill(1));
  assert.deepEqual(
    names.map((name) => service.get('viper', name)),
    before,
  );
  assert.equal([...service.list('viper')].length, names.length);
});

test('origin: a temporary or foreign directory is no collection, and is reported', async () => {
  const machine = newMachine();
  const { urls } = await start(machine);
  for (const name of ['_tmp-dir', '.snapshots', 'lost+found']) await storageOf(urls[0]).createDirectory(name);
  const { service } = await start(machine.kill(1));
  assert.deepEqual([...service.list('viper')], []);
  assert.equal(service.findings('viper').length, 1);
  assert.match(service.findings('viper')[0] ?? '', /mnt\/d1\/lost\+found is no collection/);
});

test('origin: a collection found under two URLs silently kept the last: the first counts, and it is told (E23)', async () => {
  const machine = newMachine();
  const { urls } = await start(machine);
  for (const url of [urls[3], urls[1]]) await storageOf(url).createDirectory('orders');
  const { service } = await start(machine.kill(1));
  assert.equal(service.get('viper', 'orders')?.url, 'file:///mnt/d2');
  assert.match(
    service.findings('viper')[0] ?? '',
    /"orders" is under file:\/\/\/mnt\/d2, which counts, and under file:\/\/\/mnt\/d4/,
  );
});

test('a collection under two URLs is removed from both, so that it does not come back', async () => {
  const machine = newMachine();
  const { urls } = await start(machine);
  for (const url of [urls[3], urls[1]]) await storageOf(url).createDirectory('orders');
  const next = machine.kill(1);
  const { service } = await start(next);
  assert.equal(await service.remove('viper', 'orders'), true);
  assert.deepEqual(perUrl(service), [0, 0, 0, 0]);
  assert.equal((await start(next.crash(1))).service.get('viper', 'orders'), undefined);
});

test('a directory found without _collection.json is a collection, and gets its file once', async () => {
  const machine = newMachine();
  const { urls } = await start(machine);
  await storageOf(urls[2]).createDirectory('orders');
  const next = machine.kill(1);
  const first = await start(next);
  const found = first.service.get('viper', 'orders');
  assert.equal(found?.url, 'file:///mnt/d3');
  assert.deepEqual(await first.service.assign('viper', 'orders'), found);
  assert.deepEqual(
    (await storageOf(first.urls[2]).list('orders')).map((entry) => entry.name),
    [collectionFileName],
  );
  assert.deepEqual((await start(next.crash(1))).service.get('viper', 'orders'), found);
});

test('a directory with a hashed name and no file is found by whoever names its collection', async () => {
  const long = 'y'.repeat(300);
  const machine = newMachine();
  const { urls, service } = await start(machine);
  const { path } = await service.assign('viper', long);
  await storageOf(urls[0]).remove(path.slice('file:///mnt/d1/'.length), [collectionFileName]);
  const again = (await start(machine.kill(1))).service;
  assert.match(again.findings('viper')[0] ?? '', /hashed name/);
  await assignAll(again, ['a', 'b']);
  assert.equal((await again.assign('viper', long)).path, path);
  assert.deepEqual(again.findings('viper'), []);
});

test('a damaged _collection.json is DAMAGED, never assigned anew; other collections work', async () => {
  const machine = newMachine();
  const { urls, service } = await start(machine);
  await assignAll(service, ['orders', 'users']);
  await storageOf(urls[0]).publish(`orders/${collectionFileName}`, [utf8('{}')]);
  const again = (await start(machine.kill(1))).service;
  await assert.rejects(again.assign('viper', 'orders'), { code: 'DAMAGED', message: /orders\/_collection.json/ });
  assert.throws(() => again.get('viper', 'orders'), { code: 'DAMAGED' });
  assert.equal(again.get('viper', 'users')?.url, 'file:///mnt/d2');
});

test('origin: a URL removed from the list silently moved its collections: they stay unavailable (E26, R6)', async () => {
  const machine = newMachine();
  const before = await assignAll((await start(machine)).service, collections(8));
  const next = machine.kill(1);
  const { service } = await start(next, 3);
  for (const { collection, url } of before) {
    if (url === 'file:///mnt/d4') {
      await assert.rejects(service.assign('viper', collection), { code: 'UNAVAILABLE', message: /mnt\/d4/ });
      assert.throws(() => service.get('viper', collection), { code: 'UNAVAILABLE' });
      await assert.rejects(service.remove('viper', collection), { code: 'UNAVAILABLE' });
    } else assert.equal((await service.assign('viper', collection)).url, url);
  }
  const { service: whole } = await start(next.kill(1), 4);
  assert.deepEqual(
    before.map(({ collection }) => whole.get('viper', collection)),
    before,
  );
});

test('a URL that never held anything may be removed from the configuration (E25)', async () => {
  const machine = newMachine();
  await (await start(machine)).service.assign('viper', 'orders');
  const { service } = await start(machine.kill(1), 1);
  assert.equal((await service.assign('viper', 'users')).url, 'file:///mnt/d1');
});

test('origin: a directory that could not be listed looked empty: its URL is Unavailable, and comes back by itself', async () => {
  const machine = newMachine();
  const before = await assignAll((await start(machine)).service, collections(4));
  const next = machine.kill(1);
  next.failNext('list', /d2$/, 'EACCES');
  const { urls, service } = await start(next);
  assert.equal(urls[1]?.state, 'Unavailable');
  assert.match(urls[1]?.reason ?? '', /EACCES/);
  await assert.rejects(service.assign('viper', 'new'), { code: 'UNAVAILABLE', message: /mnt\/d2 was not listed yet/ });
  await service.probe();
  assert.equal(urls[1]?.state, 'Available');
  assert.deepEqual(
    before.map(({ collection }) => service.get('viper', collection)),
    before,
  );
  await service.assign('viper', 'new');
});

test('a lost disk (an empty directory in its place) is Missing, and recovered when it is back', async () => {
  const machine = newMachine();
  const { urls: first, service: before } = await start(machine);
  await assignAll(before, collections(4));
  const file = await storageOf(first[2]).read(urlFileName);
  await storageOf(first[2]).remove('', [urlFileName]);
  const { urls, service } = await start(machine.kill(1));
  assert.equal(urls[2]?.state, 'Missing');
  assert.equal(service.get('viper', 'collection_1')?.url, 'file:///mnt/d1');
  await assert.rejects(service.assign('viper', 'collection_3'), { code: 'UNAVAILABLE', message: /mnt\/d3 is Missing/ });
  await storageOf(urls[2]).publish(urlFileName, [file]);
  await service.probe();
  assert.equal((await service.assign('viper', 'collection_3')).url, 'file:///mnt/d3');
});

test('O6 another strategy holds for what is assigned from then on; what was assigned stays (R4)', async () => {
  const { service } = await start(newMachine());
  const before = await service.assign('viper', 'orders');
  const names = Array.from({ length: 8 }, (_, index) => `collection_${index}`);
  service.setStrategy('viper', 'Hash');
  const hashed = await Promise.all(names.map(async (name) => (await service.assign('viper', name)).url));
  const other = (await start(newMachine())).service;
  other.setStrategy('viper', 'Hash');
  assert.deepEqual(await Promise.all(names.map(async (name) => (await other.assign('viper', name)).url)), hashed);
  assert.deepEqual(await service.assign('viper', 'orders'), before);
  assert.throws(() => service.setStrategy('lsm', 'Hash'), { code: 'INVALID' });
});

test('E14: an assignment with unknown outcome is tried again at its URL only', async () => {
  const machine = newMachine();
  const { urls, service } = await start(machine);
  machine.failNext('rename', /d1\/orders/, 'EIO');
  await assert.rejects(service.assign('viper', 'orders'), { code: 'UNAVAILABLE', message: /mnt\/d1/ });
  assert.equal(urls[0]?.state, 'Unavailable');
  await assert.rejects(service.assign('viper', 'orders'), { code: 'UNAVAILABLE', message: /mnt\/d1 is Unavailable/ });
  assert.throws(() => service.get('viper', 'orders'), { code: 'UNAVAILABLE' });
  assert.equal((await service.assign('viper', 'users')).url, 'file:///mnt/d2');
  await service.probe();
  assert.equal((await service.assign('viper', 'orders')).url, 'file:///mnt/d1');
  assert.deepEqual(perUrl(service), [1, 1, 0, 0]);
});

test('a full URL takes no collections, is named with NOSPACE, and comes back when there is room', async () => {
  const machine = newMachine();
  const { urls, service } = await start(machine, 1);
  const { capacityBytes } = machine;
  machine.capacityBytes = 0;
  await assert.rejects(service.assign('viper', 'orders'), { code: 'NOSPACE', message: /mnt\/d1/ });
  assert.equal(urls[0]?.state, 'Full');
  await service.probe();
  assert.equal(urls[0]?.state, 'Full');
  await assert.rejects(service.assign('viper', 'users'), { code: 'NOSPACE' });
  machine.capacityBytes = capacityBytes;
  await service.probe();
  assert.equal((await service.assign('viper', 'orders')).url, 'file:///mnt/d1');
});

test('with no URL Available, each is named with its reason', async () => {
  const { urls, service } = await start(newMachine(), 2);
  Object.assign(urls[0] ?? {}, { state: 'Stalled', reason: 'slow.' });
  Object.assign(urls[1] ?? {}, { state: 'Pending', reason: 'no mount.' });
  await assert.rejects(service.assign('viper', 'orders'), {
    code: 'UNAVAILABLE',
    message: /file:\/\/\/mnt\/d1 is Stalled: slow\. file:\/\/\/mnt\/d2 is Pending: no mount\./,
  });
});

test('a component that is not configured is INVALID, with the key to add', async () => {
  const { service } = await start(newMachine());
  assert.throws(() => service.list('lsm'), { code: 'INVALID', message: /storage\.lsm_config\.storage_urls/ });
});

test('a name that breaks the rule is INVALID and leaves nothing behind', async () => {
  const { urls, service } = await start(newMachine(), 1);
  for (const name of ['', 'a\0b', 'x'.repeat(513)])
    await assert.rejects(service.assign('viper', name), { code: 'INVALID' });
  const names = (await storageOf(urls[0]).list('')).filter((entry) => entry.kind === 'directory');
  assert.deepEqual(names, []);
});

test('remove: INVALID while the directory holds anything but _collection.json, else it is gone, also after a restart', async () => {
  const machine = newMachine();
  const { urls, service } = await start(machine);
  await service.assign('viper', 'orders');
  await storageOf(urls[0]).publish('orders/part-1.bin', [utf8('data')]);
  await assert.rejects(service.remove('viper', 'orders'), { code: 'INVALID', message: /still holds part-1\.bin/ });
  await storageOf(urls[0]).remove('orders', ['part-1.bin']);
  assert.equal(await service.remove('viper', 'orders'), true);
  assert.equal(await service.remove('viper', 'orders'), false);
  assert.equal(service.get('viper', 'orders'), undefined);
  assert.deepEqual([...(await start(machine.crash(1))).service.list('viper')], []);
});

test('remove and assign at once: one after the other, and the last answer is what the disk says', async () => {
  const machine = newMachine(true);
  const { service } = await start(machine);
  for (let round = 0; round < 20; round++) {
    const calls = [
      service.assign('viper', 'orders'),
      service.remove('viper', 'orders'),
      service.assign('viper', 'orders'),
    ];
    await Promise.all(calls);
  }
  const inForce = service.get('viper', 'orders');
  const again = (await start(machine.crash(3))).service;
  assert.deepEqual(again.get('viper', 'orders'), inForce);
});

test('a removal that fails half-way leaves an assignment that the next assign completes', async () => {
  const machine = newMachine();
  const { service } = await start(machine);
  const first = await service.assign('viper', 'orders');
  machine.failNext('rmdir', /orders/, 'EIO');
  await assert.rejects(service.remove('viper', 'orders'), { code: 'UNAVAILABLE' });
  await service.probe();
  assert.deepEqual(await service.assign('viper', 'orders'), first);
  assert.deepEqual((await start(machine.crash(1))).service.get('viper', 'orders'), first);
});

test('Hash and LoadBalanced: the same choice as the strategy’s function, with what each URL really holds', async () => {
  const machine = newMachine();
  const { urls, service } = await start(machine, 3, 'LoadBalanced');
  await assignAll(service, ['a', 'b', 'c']);
  await storageOf(urls[0]).publish('a/big', [Buffer.alloc(3 * 1024 * 1024)]);
  await storageOf(urls[1]).createDirectory('b/deep/er');
  await storageOf(urls[1]).publish('b/deep/er/big', [Buffer.alloc(5 * 1024 * 1024)]);
  const { service: again } = await start(machine.kill(1), 3, 'LoadBalanced');
  const bytes = again.statistics('viper').map((url) => url.bytes);
  assert.ok((bytes[0] ?? 0) > 3 * 1024 * 1024 && (bytes[1] ?? 0) > 5 * 1024 * 1024 && (bytes[2] ?? 0) < 1024);
  const chosen: number[] = [];
  for (const name of ['d', 'e', 'f', 'g']) chosen.push((await again.assign('viper', name)).index);
  assert.deepEqual(chosen, [2, 2, 2, 0]);
});

test('origin: statistics were constants: they follow what is assigned, removed and stored', async () => {
  const { service } = await start(newMachine(), 2);
  assert.deepEqual(perUrl(service), [0, 0]);
  await assignAll(service, collections(3));
  assert.deepEqual(perUrl(service), [2, 1]);
  await service.remove('viper', 'collection_1');
  assert.deepEqual(perUrl(service), [1, 1]);
});

test('an acknowledged assignment survives a crash at any moment; a collection is never under two URLs', async () => {
  for (let operation = 30; operation < 230; operation += 3) {
    const machine = new SimulatedFileSystem({ seed: operation, shuffled: true });
    const told = new Map<string, Assignment>();
    machine.crashAt(operation);
    const work = start(machine, 3).then(({ service }) =>
      Promise.all(
        collections(8).map(async (name) => {
          told.set(name, await service.assign('viper', name));
          if (name === 'collection_2') told.delete(name);
          if (name === 'collection_2') await service.remove('viper', name);
        }),
      ),
    );
    await Promise.race([work.catch(() => undefined), machine.stopped]);
    const acknowledged = [...told.values()];
    const { service } = await start(machine.crash(operation), 3);
    for (const assignment of acknowledged) {
      assert.deepEqual(service.get('viper', assignment.collection), assignment, `seed and crash at ${operation}`);
    }
    assert.deepEqual(service.findings('viper'), [], `seed and crash at ${operation}`);
  }
});

test('wal: the engine records what it recovered, then E26 is lifted; hooks are asked in order', async () => {
  const { urls, service } = await start(newMachine(), 2, 'RoundRobin', 'wal');
  const calls: string[] = [];
  const hooks: WalHooks = {
    beforeCreate: (collection, managed) => Promise.resolve(void calls.push(`${collection} at ${managed.index}`)),
    remove: (collection) => Promise.resolve(service.dropped('wal', collection)).then(() => true),
    failed: (managed) => void calls.push(`failed ${managed.index}`),
    bytes: (managed) => 1000 + managed.index,
    holdsOthers: () => false,
  };
  service.attachWal(hooks);
  await assert.rejects(service.assign('wal', 'orders'), { code: 'UNAVAILABLE', message: /mnt\/d1 was not listed yet/ });
  const [first] = urls;
  assert.ok(first !== undefined);
  const recorded = { collection: 'old', managed: first, incarnation: newId(), assignedAt: '2026-11-22T00:00:00Z' };
  const old = service.record('wal', { ...recorded, saved: true });
  for (const url of urls) {
    await service.urlListed(url);
    url.state = 'Available';
  }
  assert.deepEqual(await service.assign('wal', 'old'), old);
  assert.equal((await service.assign('wal', 'orders')).index, 1);
  assert.deepEqual(calls, ['orders at 1']);
  assert.deepEqual(
    service.statistics('wal').map(({ collections: count, bytes }) => [count, bytes]),
    [
      [1, 1000],
      [1, 1001],
    ],
  );
  assert.equal(await service.remove('wal', 'old'), true);
  assert.equal(service.get('wal', 'old'), undefined);
});

test('on the disk: the layout of interfaces section 4, and a second service is kept out (E28)', async (context) => {
  const root = await mkdtemp(join(tmpdir(), 'assignment-'));
  context.after(() => rm(root, { recursive: true }));
  const open = async (): Promise<{ urls: ManagedUrl[]; service: AssignmentService }> => {
    const urls = [`${root}/d1`, `${root}/d2`].flatMap((path) => manage(new DiskFileSystem(), 'index', [path]));
    const [one, two] = urls;
    assert.ok(one !== undefined && two !== undefined);
    const pair: ManagedUrl[] = [one, { ...two, index: 1 }];
    context.after(() => Promise.all(pair.map((url) => storageOf(url).close())));
    return { urls: pair, service: await openService(pair) };
  };
  const { service, urls } = await open();
  await service.assign('index', 'a/b');
  assert.deepEqual((await readdir(`${root}/d1/a%2Fb`)).toSorted(), [collectionFileName]);
  const rival = await open();
  assert.match(rival.urls[0]?.reason ?? '', /locked by test/);
  await assert.rejects(rival.service.assign('index', 'a/b'), { code: 'UNAVAILABLE' });
  await Promise.all(urls.map((url) => storageOf(url).unlock()));
  await mkdir(`${root}/d2/found`);
  await writeFile(`${root}/d2/found/part.bin`, Buffer.alloc(1000));
  const again = await open();
  assert.deepEqual(
    again.service.statistics('index').map((url) => url.collections),
    [1, 1],
  );
  assert.ok((again.service.statistics('index')[1]?.bytes ?? 0) >= 1000);
  assert.equal(again.service.get('index', 'a/b')?.index, 0);
});
