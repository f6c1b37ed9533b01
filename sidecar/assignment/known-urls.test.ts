import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { manage, mounts, newId, openKnown } from './assignment.fixture.ts';
import type { ManagedUrl } from './assignment.ts';
import { KnownUrls } from './known-urls.ts';
import { readUrlFile, type UrlFile, urlFileName, writeUrlFile } from './url-file.ts';

const newMachine = (): SimulatedFileSystem => new SimulatedFileSystem({ seed: 1 });

function storageOf(url: ManagedUrl | undefined): Storage {
  assert.ok(url?.storage !== undefined);
  return url.storage;
}

function nth(urls: readonly ManagedUrl[], index: number): ManagedUrl {
  const url = urls[index];
  assert.ok(url !== undefined);
  return url;
}

async function fileOf(url: ManagedUrl | undefined): Promise<UrlFile> {
  const file = await readUrlFile(storageOf(url));
  assert.ok(file !== undefined);
  return file;
}

const namesIn = async (url: ManagedUrl | undefined): Promise<string[]> =>
  (await fileOf(url)).others.map((other) => other.url).toSorted();

const states = (urls: readonly ManagedUrl[]): string => urls.map((url) => url.state).join(' ');

/** Opens URLs, lists all that can be used, and names the given ones. */
async function start(fileSystem: SimulatedFileSystem, directories: readonly string[], named: readonly number[] = []) {
  const urls = manage(fileSystem, 'wal', directories);
  const known = await openKnown(urls);
  for (const url of urls) if (url.state === 'Recovering') known.markListed(url);
  for (const index of named) await known.ensureNamed(nth(urls, index));
  return { urls, known };
}

test('E25: every URL gets an id of its own, and names no other until one holds something', async () => {
  const { urls, known } = await start(newMachine(), mounts(3));
  const files = await Promise.all(urls.map(fileOf));
  assert.equal(new Set(files.map((file) => file.id)).size, 3);
  assert.deepEqual(
    urls.map((url) => url.id),
    files.map((file) => file.id),
  );
  for (const file of files)
    assert.deepEqual(file, { id: file.id, component: 'wal', affinityWasFalse: false, others: [], forgotten: [] });
  assert.equal(known.blockedBy(), undefined);
});

test('E25: before its first collection a URL is named in every other’s file, once', async () => {
  const { urls, known } = await start(newMachine(), mounts(3));
  await Promise.all([known.ensureNamed(nth(urls, 1)), known.ensureNamed(nth(urls, 1))]);
  assert.deepEqual(await namesIn(urls[0]), ['file:///mnt/d2']);
  assert.deepEqual(await namesIn(urls[1]), []);
  assert.deepEqual(await namesIn(urls[2]), ['file:///mnt/d2']);
});

test('E25: concurrent namings all arrive', async () => {
  const { urls, known } = await start(new SimulatedFileSystem({ seed: 7, shuffled: true }), mounts(6));
  await Promise.all(urls.map((url) => known.ensureNamed(url)));
  for (const url of urls) assert.equal((await namesIn(url)).length, 5);
});

test('E25: after its last collection a URL is in nobody’s list, and may be removed without a trace', async () => {
  const machine = newMachine();
  const { urls, known } = await start(machine, mounts(2), [0, 1]);
  await known.unname(nth(urls, 1), () => true);
  assert.deepEqual(await namesIn(urls[0]), []);
  const again = await start(machine.kill(1), mounts(1));
  assert.equal(again.known.blockedBy(), undefined);
});

test('a URL that was filled again before its turn to be unnamed stays named', async () => {
  const { urls, known } = await start(newMachine(), mounts(2), [1]);
  await known.unname(nth(urls, 1), () => false);
  assert.deepEqual(await namesIn(urls[0]), ['file:///mnt/d2']);
});

test('a URL that is being unnamed while its next first collection comes is named again', async () => {
  const { urls, known } = await start(newMachine(), mounts(2), [1]);
  let held = 0;
  const unnaming = known.unname(nth(urls, 1), () => held === 0);
  await Promise.resolve().then(() => undefined);
  held = 1;
  await Promise.all([unnaming, known.ensureNamed(nth(urls, 1))]);
  await known.ensureNamed(nth(urls, 1));
  assert.deepEqual(await namesIn(urls[0]), ['file:///mnt/d2']);
});

test('E26: a URL that was named and is an empty directory now is Missing, and blocks unknown collections', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(2), [0, 1]);
  await storageOf(first.urls[1]).remove('', [urlFileName]);
  const { urls, known } = await start(machine.kill(1), mounts(2));
  assert.equal(states(urls), 'Recovering Missing');
  assert.match(known.blockedBy() ?? '', /file:\/\/\/mnt\/d2 is Missing: .*mount/);
  await assert.rejects(known.ensureNamed(nth(urls, 1)), { code: 'UNAVAILABLE' });
});

test('R6: no directory is made at the mount point of a Missing URL', async () => {
  const machine = newMachine();
  const first = await start(machine, ['/mnt/d1', '/lost/d2'], [0, 1]);
  await storageOf(first.urls[1]).remove('', [urlFileName, '_lock']);
  await machine.removeDirectory('/lost/d2');
  const next = machine.kill(1);
  const { urls } = await start(next, ['/mnt/d1', '/lost/d2']);
  assert.equal(states(urls), 'Recovering Missing');
  assert.deepEqual(await next.list('/lost'), []);
});

test('origin: a URL removed from the list silently moved its collections: it is told, and blocks unknown ones (E26)', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(2), [0, 1]);
  const { known } = await start(machine.kill(1), mounts(1));
  assert.deepEqual(known.removedUrls, [{ id: first.urls[1]?.id, url: 'file:///mnt/d2' }]);
  assert.match(known.blockedBy() ?? '', /file:\/\/\/mnt\/d2 .* configured no longer/);
});

test('R6: a URL that cannot be read is Unavailable, blocks unknown collections, and the others work', async () => {
  const machine = newMachine();
  await start(machine, mounts(3), [0, 1, 2]);
  const next = machine.kill(1);
  next.failNext('open', /d2\/_url\.json/, 'EIO');
  const { urls, known } = await start(next, mounts(3));
  assert.equal(states(urls), 'Recovering Unavailable Recovering');
  assert.match(known.blockedBy() ?? '', /file:\/\/\/mnt\/d2 was not listed yet.*EIO/);
  await known.ensureNamed(nth(urls, 0));
});

test('E25: a first collection needs every other URL, and says which one fails', async () => {
  const machine = newMachine();
  machine.failNext('mkdir', /d2$/, 'EACCES');
  const { urls, known } = await start(machine, mounts(2));
  await assert.rejects(known.ensureNamed(nth(urls, 0)), { code: 'UNAVAILABLE', message: /d2 cannot: .*EACCES/ });
  assert.equal(await known.recheck(nth(urls, 1)), true);
  assert.equal(urls[1]?.state, 'Recovering');
  await known.ensureNamed(nth(urls, 0));
  assert.deepEqual(await namesIn(urls[1]), ['file:///mnt/d1']);
});

test('a naming that fails half-way names nothing, and is made whole by the next', async () => {
  const machine = newMachine();
  const { urls, known } = await start(machine, mounts(3));
  machine.failNext('rename', /d3\//, 'EIO');
  await assert.rejects(known.ensureNamed(nth(urls, 0)), { code: 'UNAVAILABLE', message: /mnt\/d3\/_url.json/ });
  machine.failNext('create', /d3\//, 'ENOSPC');
  await assert.rejects(known.ensureNamed(nth(urls, 0)), { code: 'NOSPACE' });
  await known.ensureNamed(nth(urls, 0));
  assert.deepEqual(await namesIn(urls[2]), ['file:///mnt/d1']);
});

test('a URL under another path keeps its identity, and the lists follow', async () => {
  const machine = newMachine();
  await start(machine, ['/mnt/d1', '/mnt/d2'], [0, 1]);
  const next = machine.kill(1);
  await next.createDirectory('/mnt/d3');
  const content = await storageOf(manage(next, 'wal', ['/mnt/d2'])[0]).read(urlFileName);
  await storageOf(manage(next, 'wal', ['/mnt/d3'])[0]).publish(urlFileName, [content]);
  const { urls, known } = await start(next, ['/mnt/d1', '/mnt/d3']);
  assert.equal(states(urls), 'Recovering Recovering');
  assert.equal(known.blockedBy(), undefined);
  assert.deepEqual(await namesIn(urls[0]), ['file:///mnt/d3']);
});

test('a copied directory is refused with the reason; the one that the lists name works', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(2), [0, 1]);
  const copy = await fileOf(first.urls[1]);
  const next = machine.kill(1);
  const [third] = manage(next, 'wal', ['/mnt/d3']);
  await storageOf(third).lock('test', 0);
  await writeUrlFile(storageOf(third), copy);
  await storageOf(third).unlock();
  const { urls } = await start(next, mounts(3));
  assert.equal(states(urls), 'Recovering Recovering Unavailable');
  assert.match(urls[2]?.reason ?? '', /a copy/);
});

test('a damaged _url.json makes the URL Unavailable, never new', async () => {
  for (const content of ['', '{}', '{"id":"x"}', '[]']) {
    const machine = newMachine();
    const first = await start(machine, mounts(1));
    await storageOf(first.urls[0]).publish(urlFileName, [Buffer.from(content)]);
    const { urls } = await start(machine.kill(1), mounts(1));
    assert.equal(states(urls), 'Unavailable');
    assert.match(urls[0]?.reason ?? '', /_url.json is damaged/);
  }
});

test('E27: a forgotten id is never used again, and blocks nothing', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(2), [0, 1]);
  const file = await fileOf(first.urls[0]);
  await writeUrlFile(storageOf(first.urls[0]), { ...file, others: [], forgotten: [first.urls[1]?.id ?? ''] });
  const { urls, known } = await start(machine.kill(1), mounts(3));
  assert.equal(states(urls), 'Recovering Missing Recovering');
  assert.match(urls[1]?.reason ?? '', /forgotten/);
  assert.equal(known.blockedBy(), undefined);
  assert.equal(await known.recheck(nth(urls, 1)), false);
  assert.deepEqual((await fileOf(urls[2])).forgotten, [first.urls[1]?.id]);
});

test('a Missing URL that comes back is recovered, listed again, and nothing is blocked any more', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(2), [0, 1]);
  const file = await fileOf(first.urls[1]);
  await storageOf(first.urls[1]).remove('', [urlFileName]);
  const { urls, known } = await start(machine.kill(1), mounts(2));
  assert.equal(await known.recheck(nth(urls, 1)), false);
  await writeUrlFile(storageOf(urls[1]), file);
  assert.equal(await known.recheck(nth(urls, 1)), true);
  assert.equal(states(urls), 'Recovering Recovering');
  assert.match(known.blockedBy() ?? '', /d2 was not listed yet/);
  known.markListed(nth(urls, 1));
  assert.equal(known.blockedBy(), undefined);
});

test('E28: a URL that another sidecar holds is Unavailable with the holder’s name, and its file is left alone', async () => {
  const machine = newMachine();
  const first = await start(machine, mounts(1));
  const before = await fileOf(first.urls[0]);
  const { urls } = await start(machine, mounts(1));
  assert.equal(states(urls), 'Unavailable');
  assert.match(urls[0]?.reason ?? '', /locked by test/);
  assert.deepEqual(await fileOf(first.urls[0]), before);
});

test('a URL that hangs is Unavailable after its deadline, and holds up no other', async () => {
  const machine = newMachine();
  await start(machine, mounts(2), [0]);
  const next = machine.kill(1);
  const release = next.hold('open', /d2\/_url\.json/);
  const urls = manage(next, 'wal', mounts(2));
  await KnownUrls.open('wal', urls, { lock: (storage) => storage.lock('test', 0), newId, deadlineMs: 50 });
  assert.equal(states(urls), 'Recovering Unavailable');
  assert.match(urls[1]?.reason ?? '', /no answer for 0.05 s/);
  release();
});

test('E25: a crash at any moment leaves every URL with its id, and names only ids that are durable', async () => {
  for (let operation = 1; operation < 120; operation++) {
    const machine = new SimulatedFileSystem({ seed: operation, shuffled: true });
    machine.crashAt(operation);
    const naming = start(machine, mounts(3), [0, 1, 2]).catch(() => undefined);
    await Promise.race([naming, machine.stopped]);
    const { urls, known } = await start(machine.crash(operation), mounts(3));
    assert.equal(states(urls), 'Recovering Recovering Recovering', `seed and crash at ${operation}`);
    assert.equal(known.blockedBy(), undefined);
    const ids = new Set(urls.map((url) => url.id));
    for (const file of await Promise.all(urls.map(fileOf))) assert.ok(file.others.every((other) => ids.has(other.id)));
  }
});
