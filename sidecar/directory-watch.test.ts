import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { until } from '../test/running-sidecar.ts';
import { DirectoryWatch } from './directory-watch.ts';

const neverMs = 3_600_000;

async function watching(context: TestContext, path: string, roundMs: number, look?: (looks: number) => Promise<void>) {
  const seen = { looks: 0 };
  const watch = new DirectoryWatch({
    directory: path,
    look: async () => {
      seen.looks++;
      await look?.(seen.looks);
    },
    roundMs,
  });
  context.after(() => watch.close());
  await watch.start();
  return { seen, watch };
}

async function temporary(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-watch-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test('the system tells of new, replaced and changed files, long before the next round', async (context) => {
  const directory = await temporary(context);
  const { seen } = await watching(context, directory, neverMs);
  assert.equal(seen.looks, 1);
  for (const change of [
    () => writeFile(join(directory, 'a'), 'one'),
    () => writeFile(join(directory, 'a'), 'two'),
    async () => {
      await mkdir(join(directory, 'next'));
      await rename(join(directory, 'next'), join(directory, 'b'));
    },
  ]) {
    const before = seen.looks;
    await change();
    await until('a look', () => seen.looks > before);
  }
});

test('a directory that is not there yet, and one that takes the name of the watched one, are found by the round', async (context) => {
  const parent = await temporary(context);
  const directory = join(parent, 'config');
  const { seen } = await watching(context, directory, 10);
  for (const round of ['first', 'second']) {
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory);
    const before = seen.looks;
    await writeFile(join(directory, round), 'content');
    await until('a look', () => seen.looks > before);
  }
});

test('one look at a time: what comes during one is looked at after it, and none comes after the end', async (context) => {
  let running = 0;
  const held = Promise.withResolvers<void>();
  const { seen, watch } = await watching(context, await temporary(context), neverMs, async (looks) => {
    assert.equal(++running, 1);
    if (looks === 2) await held.promise;
    running--;
  });
  const [second, third] = [watch.look(), watch.look()];
  await until('the second look', () => seen.looks === 2);
  const fourth = watch.look();
  held.resolve();
  await Promise.all([second, third, fourth]);
  assert.equal(seen.looks, 3);
  watch.close();
  await watch.look();
  assert.equal(seen.looks, 3);
});
