/** Our image by itself: what is in it, and that it runs as an ordinary user on a read-only root. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { freePort } from '../cluster/control-plane.ts';
import { walstorageImage } from '../cluster/images.ts';
import { program, testNeeding } from '../requirement.ts';
import { RespClient, readAll } from '../resp-client.ts';
import { until } from '../running-sidecar.ts';
import { imageNeeds } from './node-scene.ts';
import { UnpackedImage } from './unpacked-image.ts';

const testLimitMs = 600_000;
const endMs = 10_000;
const sourceFiles = /\.(ts|map|c|h)$/;

let unpacked: Promise<UnpackedImage> | undefined;
after(async () => (await unpacked?.catch(() => undefined))?.remove());

function testImage(name: string, body: (image: UnpackedImage, t: TestContext) => Promise<void>): void {
  const needs = [...imageNeeds, program('runc', ['--version'], 'runc')];
  testNeeding(needs, name, { timeout: testLimitMs }, async (t) => {
    unpacked ??= walstorageImage().then(async (image) => UnpackedImage.unpack(image));
    await body(await unpacked, t);
  });
}

const filesOf = (image: UnpackedImage): string[] => readdirSync(image.root, { recursive: true, encoding: 'utf8' });

testImage(
  'the image holds Node, our code and its packages, and no shell, package manager, source or secret',
  async (image, t) => {
    const files = filesOf(image);
    const programs = files.filter((path) => /(^|\/)s?bin\//.test(path) && !path.startsWith('app/'));
    assert.deepEqual(programs.toSorted(), ['usr/local/bin/node', 'usr/local/bin/walstorage']);
    assert.deepEqual(
      files.filter((path) => sourceFiles.test(path) || path.includes('npmrc')),
      [],
    );
    assert.deepEqual(files.filter((path) => path.startsWith('etc/')).toSorted(), [
      'etc/group',
      'etc/nsswitch.conf',
      'etc/passwd',
    ]);
    assert.match(image.config.User, /^[1-9]\d*:[1-9]\d*$/);
    assert.equal(image.config.Labels['org.opencontainers.image.title'], 'walstorage');
    t.diagnostic(`the image has ${Math.round(image.bytes / 2 ** 20)} MiB`);
  },
);

testImage(
  'its list of parts names Node, the shared libraries and exactly the packages that are there',
  async (image) => {
    const path = image.config.Labels['io.proximadb.wal.sbom'] ?? '';
    const { bomFormat, components } = JSON.parse(readFileSync(join(image.root, path), 'utf8'));
    assert.equal(bomFormat, 'CycloneDX');
    const named: readonly { readonly name: string; readonly version?: string; readonly type: string }[] = components;
    const node = named.find(({ name }) => name === 'node');
    assert.equal(node?.type, 'platform');
    const packages = filesOf(image).filter((file) => /(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(file));
    const installed = packages.map((file): { readonly name: string; readonly version: string } =>
      JSON.parse(readFileSync(join(image.root, file), 'utf8')),
    );
    const libraries = new Set(
      named.filter(({ type }) => type === 'library').map(({ name, version }) => `${name}@${version}`),
    );
    assert.deepEqual(
      installed.map(({ name, version }) => `${name}@${version}`).filter((one) => !libraries.has(one)),
      [],
    );
    for (const library of named.filter(({ type }) => type === 'file')) readFileSync(join(image.root, library.name));
  },
);

testImage('as its user, on a read-only root, it serves, appends and reads; the start is measured', async (image, t) => {
  const data = await image.makeData();
  const [socket, configuration] = [join(data, 'wal.sock'), join(data, 'walstorage.toml')];
  await writeFile(configuration, `[storage.wal_config]\nwal_urls = ["file://${data}/d1", "file://${data}/d2"]\n`);
  const port = await freePort();
  const startMs = performance.now();
  const flags = ['--config', configuration, '--socket', socket, '--http', `127.0.0.1:${port}`];
  const child = await image.start(['sidecar', ...flags], data);
  try {
    const isReady = async (): Promise<boolean> => {
      if (!child.running) throw new Error(child.lastLines());
      return (await fetch(`http://127.0.0.1:${port}/startupz`).catch(() => undefined))?.ok ?? false;
    };
    await until('the image serves', isReady);
    t.diagnostic(`it is ready ${Math.round(performance.now() - startMs)} ms after its start`);
    const client = await RespClient.connect(socket);
    await client.send('WAL.APPEND', 'orders', '*', 'INSERT', 'key', 'payload');
    assert.deepEqual(
      (await readAll(client, 'orders')).map(({ payload }) => payload.toString()),
      ['payload'],
    );
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const bytes = Number(/process_resident_memory_bytes (\d\S*)$/m.exec(metrics)?.[1]);
    assert.ok(bytes > 0);
    t.diagnostic(`it takes ${Math.round(bytes / 2 ** 20)} MiB of memory`);
    await client.close();
  } finally {
    await child.end(endMs);
  }
});

testImage('its command tells the version', async (image) => {
  const child = await image.start(['--version'], image.directory);
  await child.ended;
  assert.equal(child.lastLines(1), packageJson.version);
});
