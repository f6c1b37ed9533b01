import assert from 'node:assert/strict';
import { access, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cacheDirectory, cached, pruneCache } from './cache.ts';

const inherited = process.env['XDG_CACHE_HOME'];
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'walstorage-cache-'));
  process.env['XDG_CACHE_HOME'] = root;
});
after(async () => {
  if (inherited === undefined) delete process.env['XDG_CACHE_HOME'];
  else process.env['XDG_CACHE_HOME'] = inherited;
  await rm(root, { recursive: true });
});

test('two that want one directory at a time make it once, and both get it whole', async () => {
  let made = 0;
  const make = async (directory: string): Promise<void> => {
    made++;
    await writeFile(join(directory, 'program'), 'whole');
  };
  const found = await Promise.all([cached('tool', make), cached('tool', make)]);
  assert.equal(made, 1);
  assert.equal(found[0], join(cacheDirectory(), 'tool'));
  assert.equal(found[1], found[0]);
  assert.equal(await readFile(join(found[0], 'program'), 'utf8'), 'whole');
});

test('what could not be made is absent, leaves nothing behind, and is tried again', async () => {
  const failing = cached('broken', async (directory) => {
    await writeFile(join(directory, 'half'), '');
    throw new Error('no compiler');
  });
  await assert.rejects(failing, /no compiler/);
  await assert.rejects(access(join(cacheDirectory(), 'broken')));
  assert.deepEqual(
    (await readdir(cacheDirectory())).filter((name) => name.includes('unfinished')),
    [],
  );
  await access(await cached('broken', () => Promise.resolve()));
});

test('of a kind only those that were made last are kept', async () => {
  for (const [index, name] of ['image-1', 'image-2', 'image-3'].entries()) {
    const directory = await cached(name, () => Promise.resolve());
    await utimes(directory, index, index);
  }
  await cached('imagination', () => Promise.resolve());
  await pruneCache('image-', 2);
  const kept = (await readdir(cacheDirectory())).filter((name) => name.startsWith('imag') && !name.endsWith('.lock'));
  assert.deepEqual(kept.toSorted(), ['image-2', 'image-3', 'imagination']);
});
