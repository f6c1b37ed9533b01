/** What every `Storage` does, whatever it is kept on: one suite of cases for all implementations. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemCode, WalError } from '../errors.ts';
import { isTemporaryName } from './file.ts';
import type { Storage } from './storage.ts';

/** Two storages of the same empty place, as two sidecars would open it; `context.after` takes everything away. */
export type MakeStorages = (context: TestContext) => Promise<{ storage: Storage; rival: Storage }>;

const bytes = (text: string) => Buffer.from(text);

/** Registers the cases as tests whose names begin with `name`. */
export function run(name: string, makeStorages: MakeStorages): void {
  const holds = (what: string, check: (storage: Storage, rival: Storage) => Promise<void>) =>
    test(`${name}: ${what}`, async (context) => {
      const { storage, rival } = await makeStorages(context);
      await check(storage, rival);
    });
  directories(holds);
  files(holds);
  logs(holds);
  locks(holds);
}

type Holds = (what: string, check: (storage: Storage, rival: Storage) => Promise<void>) => unknown;

/** For `assert.rejects`: a system error with this code. */
function failing(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.equal(systemCode(error), code);
    return true;
  };
}

async function started(storage: Storage): Promise<void> {
  await storage.lock('test', 0);
}

function directories(holds: Holds): void {
  holds('the URL does not exist until it is locked, and locking makes its ancestors too', async (storage) => {
    assert.equal(await storage.exists(), false);
    await started(storage);
    assert.equal(await storage.exists(), true);
  });

  holds('R6: a directory that is not there is an error, not an empty one', async (storage) => {
    await assert.rejects(storage.list(''), failing('ENOENT'));
    await started(storage);
    await assert.rejects(storage.list('absent'), failing('ENOENT'));
    await assert.rejects(storage.listFiles('absent'), failing('ENOENT'));
  });

  holds('a directory is made with its parents, again and concurrently without error', async (storage) => {
    await started(storage);
    await Promise.all([storage.createDirectory('a/b'), storage.createDirectory('a/b'), storage.createDirectory('a')]);
    assert.deepEqual(await storage.list('a'), [{ name: 'b', kind: 'directory' }]);
    assert.deepEqual(await storage.list('a/b'), []);
  });

  holds('a directory cannot be made where a file is', async (storage) => {
    await started(storage);
    await storage.publish('a', [bytes('x')]);
    await assert.rejects(storage.createDirectory('a'), failing('ENOTDIR'));
    await assert.rejects(storage.createDirectory('a/b'), failing('ENOTDIR'));
  });

  holds('an empty directory can be removed, twice, one with a file cannot', async (storage) => {
    await started(storage);
    await storage.createDirectory('a');
    await storage.publish('a/f', [bytes('x')]);
    await assert.rejects(storage.removeDirectory('a'), failing('ENOTEMPTY'));
    await storage.remove('a', ['f']);
    await storage.removeDirectory('a');
    await storage.removeDirectory('a');
    await assert.rejects(storage.list('a'), failing('ENOENT'));
  });

  holds('a listing has files and directories by name, listFiles only files with their sizes', async (storage) => {
    await started(storage);
    await storage.createDirectory('a/directory');
    await storage.publish('a/two', [bytes('22')]);
    await storage.publish('a/one', [bytes('1')]);
    const entries = await storage.list('a');
    assert.deepEqual(entries, [
      { name: 'directory', kind: 'directory' },
      { name: 'one', kind: 'file' },
      { name: 'two', kind: 'file' },
    ]);
    const sizes = (await storage.listFiles('a')).map((file) => [file.name, file.bytes]);
    assert.deepEqual(sizes, [
      ['one', 1],
      ['two', 2],
    ]);
  });

  holds('syncDirectory works on the URL itself and on a directory, and fails on none', async (storage) => {
    await started(storage);
    await storage.createDirectory('a');
    await storage.syncDirectory('');
    await storage.syncDirectory('a');
    await assert.rejects(storage.syncDirectory('absent'), failing('ENOENT'));
  });

  holds('space is told in bytes', async (storage) => {
    await started(storage);
    const { freeBytes, totalBytes } = await storage.space();
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes);
  });
}

function files(holds: Holds): void {
  holds('E8: a published file has all parts in order and leaves no temporary name', async (storage) => {
    await started(storage);
    await storage.createDirectory('a');
    const parts = Array.from({ length: 3000 }, (_, index) => bytes(`${index},`));
    await storage.publish('a/f', [bytes('start '), new Uint8Array(0), ...parts]);
    assert.deepEqual(await storage.read('a/f'), Buffer.concat([bytes('start '), ...parts]));
    assert.deepEqual(await storage.list('a'), [{ name: 'f', kind: 'file' }]);
  });

  holds('publishing replaces a file; who has it open reads the old one', async (storage) => {
    await started(storage);
    await storage.publish('f', [bytes('old')]);
    const reader = await storage.openReader('f');
    await storage.publish('f', [bytes('newer')]);
    assert.deepEqual(await reader.read(0, 100), bytes('old'));
    await reader.close();
    assert.deepEqual(await storage.read('f'), bytes('newer'));
  });

  holds('publishing at once under many names, or one, leaves whole files', async (storage) => {
    await started(storage);
    const numbers = Array.from({ length: 20 }, (_, index) => index);
    const contents = numbers.map((index) => `${index}`.repeat(5000));
    await Promise.all(contents.map((content, index) => storage.publish(`f${index}`, [bytes(content)])));
    await Promise.all(contents.map((content) => storage.publish('same', [bytes(content)])));
    for (const index of numbers) assert.equal((await storage.read(`f${index}`)).toString(), contents[index]);
    assert.ok(contents.includes((await storage.read('same')).toString()));
    assert.deepEqual(
      (await storage.list('')).filter((entry) => isTemporaryName(entry.name)),
      [],
    );
  });

  holds('publishing into no directory is ENOENT', async (storage) => {
    await started(storage);
    await assert.rejects(storage.publish('absent/f', [bytes('x')]), failing('ENOENT'));
  });

  holds(
    'a failed publish leaves nothing behind, and an earlier process’s leftovers are passed over',
    async (storage) => {
      await started(storage);
      await storage.createDirectory('a/target');
      await assert.rejects(storage.publish('a/target', [bytes('x')]));
      assert.deepEqual(await storage.list('a'), [{ name: 'target', kind: 'directory' }]);
      for (const leftover of [1, 2, 3, 4, 5]) await storage.publish(`a/_tmp-${leftover}`, [bytes('leftover')]);
      await storage.publish('a/f', [bytes('x')]);
      assert.deepEqual(await storage.read('a/_tmp-5'), bytes('leftover'));
      assert.ok(isTemporaryName('_tmp-5') && !isTemporaryName('f'));
    },
  );

  holds('a reader gives any range, and less only at the end', async (storage) => {
    await started(storage);
    await storage.publish('f', [bytes('0123456789')]);
    const reader = await storage.openReader('f');
    assert.equal(reader.bytes, 10);
    assert.deepEqual(await reader.read(3, 4), bytes('3456'));
    assert.deepEqual(await reader.read(8, 4), bytes('89'));
    assert.deepEqual(await reader.read(10, 4), bytes(''));
    assert.deepEqual(await reader.read(20, 4), bytes(''));
    await reader.close();
  });

  holds('reading what is not there is ENOENT', async (storage) => {
    await started(storage);
    await assert.rejects(storage.read('absent'), failing('ENOENT'));
    await assert.rejects(storage.openReader('absent/f'), failing('ENOENT'));
  });

  holds('removing takes what is there, also from no directory', async (storage) => {
    await started(storage);
    await storage.publish('f', [bytes('x')]);
    await storage.publish('g', [bytes('x')]);
    await storage.remove('', ['absent', 'f']);
    assert.deepEqual(
      (await storage.listFiles('')).map((file) => file.name),
      ['_lock', 'g'],
    );
    await storage.remove('absent', ['f']);
  });

  holds('a file can be renamed in its directory', async (storage) => {
    await started(storage);
    await storage.publish('f', [bytes('x')]);
    await storage.rename('', 'f', 'g');
    assert.deepEqual(await storage.read('g'), bytes('x'));
    await assert.rejects(storage.read('f'), failing('ENOENT'));
    await assert.rejects(storage.rename('', 'f', 'g'), failing('ENOENT'));
  });
}

function logs(holds: Holds): void {
  holds('a log holds its header and what was appended, durable or not', async (storage) => {
    await started(storage);
    await storage.createDirectory('j');
    const log = await storage.createLog('j/1', bytes('header '));
    assert.equal(log.writtenBytes, 7);
    await log.append([bytes('one '), bytes('two ')], true);
    await log.append([bytes('three ')], false);
    await log.sync();
    await log.append([bytes('four ')], false);
    await log.append([bytes('five')], true);
    assert.equal(log.writtenBytes, 30);
    assert.equal((await storage.read('j/1')).toString(), 'header one two three four five');
    assert.deepEqual(await storage.list('j'), [{ name: '1', kind: 'file' }]);
    await log.close();
    await log.close();
  });

  holds('a log takes views of shared memory, of a pool and of thousands of parts', async (storage) => {
    await started(storage);
    const log = await storage.createLog('log', bytes(''));
    const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(65, 10, 20);
    await log.append([shared.subarray(10, 20), bytes('pooled').subarray(2)], true);
    const many = Array.from({ length: 2500 }, (_, index) => bytes(`${index},`));
    await log.append(many, true);
    assert.deepEqual(await storage.read('log'), Buffer.concat([bytes('AAAAAAAAAAoled'), ...many]));
    await log.close();
  });

  holds('two logs are written at the same time', async (storage) => {
    await started(storage);
    const one = await storage.createLog('1', bytes('one'));
    const two = await storage.createLog('2', bytes('two'));
    await Promise.all([one.append([bytes('ONE')], true), two.append([bytes('TWO')], true)]);
    assert.deepEqual(await storage.read('1'), bytes('oneONE'));
    assert.deepEqual(await storage.read('2'), bytes('twoTWO'));
    await Promise.all([one.close(), two.close()]);
  });

  holds('a log is never made over a file, nor in no directory', async (storage) => {
    await started(storage);
    await storage.publish('f', [bytes('x')]);
    await assert.rejects(storage.createLog('f', bytes('header')), failing('EEXIST'));
    await assert.rejects(storage.createLog('absent/f', bytes('header')), failing('ENOENT'));
    assert.deepEqual(await storage.read('f'), bytes('x'));
    assert.deepEqual(
      (await storage.list('')).filter((entry) => isTemporaryName(entry.name)),
      [],
    );
  });

  holds('a cut log goes on where it was cut', async (storage) => {
    await started(storage);
    const log = await storage.createLog('log', bytes('header'));
    await log.append([bytes(' good')], true);
    await log.append([bytes(' bad, and longer')], false);
    await log.cut(11);
    assert.equal(log.writtenBytes, 11);
    await log.append([bytes(' go')], true);
    assert.equal((await storage.read('log')).toString(), 'header good go');
    await assert.rejects(log.cut(15));
    await log.close();
  });

  holds('a second append under way and an append to a closed log are refused', async (storage) => {
    await started(storage);
    const log = await storage.createLog('log', bytes('header'));
    const first = log.append([bytes(' first')], true);
    await assert.rejects(log.append([bytes(' second')], true), /only one may be at a time/);
    await first;
    await log.close();
    await assert.rejects(log.append([bytes(' third')], true), /it is closed/);
    assert.equal((await storage.read('log')).toString(), 'header first');
  });
}

function locks(holds: Holds): void {
  holds(
    'E28: a second lock is refused by naming the file and its holder, and granted after unlock',
    async (storage, rival) => {
      await storage.lock('sidecar of orders', 0);
      await assert.rejects(rival.lock('intruder', 0), (error) => {
        assert.ok(error instanceof WalError && error.code === 'UNAVAILABLE');
        assert.match(error.message, /\/_lock is locked by sidecar of orders, pid \d+ on host .+, since 20/);
        return true;
      });
      await storage.unlock();
      await rival.lock('successor', 0);
      await rival.unlock();
    },
  );

  holds('E28: a taken lock is tried until it is free', async (storage, rival) => {
    await storage.lock('first', 0);
    const waiting = rival.lock('second', 10_000);
    await storage.unlock();
    await waiting;
    await rival.unlock();
  });

  holds('closing releases the lock', async (storage, rival) => {
    await storage.lock('first', 0);
    await storage.close();
    await rival.lock('second', 0);
  });
}
