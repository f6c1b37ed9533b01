import assert from 'node:assert/strict';
import { mkdtemp, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { publishMounted } from '../../test/mounted-directory.ts';
import { until } from '../../test/running-sidecar.ts';
import { hashOf } from './hash.ts';
import type { Parsed } from './parse.ts';
import { ConfigurationWatcher } from './watcher.ts';

const text = (lingerMs: number): string => `[storage.wal_config]\nwal_urls = ["file:///d1"]\nlinger_ms = ${lingerMs}\n`;

interface Watched {
  readonly watcher: ConfigurationWatcher;
  readonly told: Parsed[];
  /** The last content told, by its linger_ms; undefined if it was bad. */
  readonly last: () => number | undefined;
}

async function watched(context: TestContext, file: string, started: string, roundMs = 3_600_000): Promise<Watched> {
  const told: Parsed[] = [];
  const last = { hash: hashOf(started), problems: [] };
  const onChange = (parsed: Parsed): number => told.push(parsed);
  const watcher = new ConfigurationWatcher({ file, environment: {}, last, onChange, roundMs });
  context.after(() => watcher.close());
  await watcher.start();
  return { watcher, told, last: () => told.at(-1)?.configuration?.wal.lingerMs };
}

async function temporary(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-config-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test('a plain file: what changed since it was read, edits in place and atomic replacements are told, each content once', async (context) => {
  const file = join(await temporary(context), 'walstorage.toml');
  await writeFile(file, text(2));
  const { told, last, watcher } = await watched(context, file, text(1));
  assert.deepEqual([told.length, last()], [1, 2]);
  await writeFile(file, text(3));
  await until('the edit', () => last() === 3);
  await writeFile(`${file}.new`, text(4));
  await rename(`${file}.new`, file);
  await until('the replacement', () => last() === 4);
  await writeFile(file, text(4));
  await writeFile(file, text(5));
  await until('the last edit', () => last() === 5);
  assert.deepEqual(
    told.map(({ configuration }) => configuration?.wal.lingerMs),
    [2, 3, 4, 5],
  );
  watcher.close();
  await watcher.reload();
  assert.equal(told.length, 4);
});

test('a ConfigMap as the kubelet mounts it: the swap of ..data is the change', async (context) => {
  const mount = await temporary(context);
  await publishMounted(mount, { 'walstorage.toml': text(1) });
  const { told, last } = await watched(context, join(mount, 'walstorage.toml'), text(1));
  assert.equal(told.length, 0);
  await publishMounted(mount, { 'walstorage.toml': text(2) });
  await until('the new content', () => last() === 2);
  assert.equal(told.length, 1);
});

test('a file that is written little by little is told when it is whole, however valid its halves are', async (context) => {
  const file = join(await temporary(context), 'walstorage.toml');
  await writeFile(file, text(1));
  const { told, last } = await watched(context, file, text(1));
  const handle = await open(file, 'w');
  // Without the last line it is valid, with less it is not.
  for (const piece of text(2).match(/.{1,9}\n?/g) ?? []) await handle.write(piece);
  await handle.close();
  await until('the new content', () => last() === 2);
  assert.equal(told.length, 1);
});

test('a bad content, and a file that is gone, are told with their problems, and what follows them is told again', async (context) => {
  const file = join(await temporary(context), 'walstorage.toml');
  await writeFile(file, text(1));
  const { told, last } = await watched(context, file, text(1));
  await writeFile(file, 'wal_urls = [');
  await until('the bad content', () => told.length === 1);
  assert.match(told[0]?.problems[0]?.problem ?? '', /not valid TOML/);
  await rm(file);
  await until('the loss', () => told.length === 2);
  assert.match(told[1]?.problems[0]?.problem ?? '', /cannot be read: ENOENT/);
  await writeFile(file, text(1));
  await until('the return', () => last() === 1);
});

test('where the system tells nothing, the round finds the change: the file is a link to elsewhere', async (context) => {
  const [directory, elsewhere] = [await temporary(context), await temporary(context)];
  const [file, target] = [join(directory, 'walstorage.toml'), join(elsewhere, 'real.toml')];
  await writeFile(target, text(1));
  await symlink(target, file);
  const { last } = await watched(context, file, text(1), 10);
  await writeFile(target, text(2));
  await until('the new content', () => last() === 2);
});

test('reload takes the file at once, unchanged or not', async (context) => {
  const file = join(await temporary(context), 'walstorage.toml');
  await writeFile(file, text(1));
  const { told, watcher, last } = await watched(context, file, text(1));
  await watcher.reload();
  assert.deepEqual([told.length, last()], [1, 1]);
});
