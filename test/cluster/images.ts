/**
 * Images for a node, made without a registry and kept in the user's cache under a hash of what they are made from:
 *
 *     pause        one static program that sleeps; it holds a pod's network
 *     node:24-slim what the Dockerfile builds on, under the same name: this machine's Node, its libraries, npm and busybox
 *     walstorage   our Dockerfile, built by buildah on that
 *     database     the stand-in database on that
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached, pruneCache } from './cache.ts';
import { run } from './child.ts';

/** An image as a file that containerd and buildah import. */
export interface Image {
  /** As a pod names it. */
  readonly name: string;
  readonly archive: string;
}

const checkout = fileURLToPath(new URL('../../', import.meta.url));
const archiveName = 'image.tar';
/** So many of a kind stay in the cache; each is some 150 MB. */
const keptMax = 3;
/** What the Dockerfile's result depends on. */
const sources = ['Dockerfile', '.dockerignore', '.npmrc', 'LICENSE', 'package.json', 'package-lock.json'];
const sourceDirectories = ['crds', 'image', 'operator', 'sidecar'];
/** The stand-in database: TypeScript, which Node runs as it is. */
const databaseFiles = ['test/node/database.ts', 'test/resp-client.ts'];

/** Where the Dockerfile puts the secret `ca`. */
const authoritiesInBuild = '/etc/ssl/certs/ca-certificates.crt';

export const pauseName = 'localhost/pause:1';
export const nextVersion = '99.0.0';
const baseName = 'docker.io/library/node:24-slim';

/** What a pod's first container runs. */
export async function pauseImage(): Promise<Image> {
  const busybox = await programPath('busybox', 'busybox-static');
  return image('pause', pauseName, [hashOf([busybox])], async (directory) => {
    const root = join(directory, 'root');
    await copyInto(root, busybox, '/bin/busybox');
    const config = { Entrypoint: ['/bin/busybox', 'sleep', '2147483647'] };
    await writeArchive(directory, pauseName, [await layerOf(directory, root)], config);
  });
}

/** Our own image, as the Dockerfile makes it. */
export async function walstorageImage(): Promise<Image> {
  const base = await baseImage();
  const files = [...sources, 'tsconfig.json', 'tsconfig.build.json'].map((name) => join(checkout, name));
  for (const name of sourceDirectories) files.push(...(await compiledFilesBelow(join(checkout, name))));
  const name = 'localhost/walstorage:test';
  return image('walstorage', name, [base.archive, hashOf(files)], (directory) => build(directory, base, name));
}

/** Our image as the next release would be: all is the same but the version that it tells. */
export async function nextReleaseImage(): Promise<Image> {
  const { archive } = await walstorageImage();
  const name = 'localhost/walstorage:next';
  return image('next', name, [archive], async (directory) => {
    const unpacked = join(directory, 'unpacked');
    await mkdir(unpacked);
    await run('tar', ['-C', unpacked, '-xf', archive]);
    const [{ Config, Layers }] = JSON.parse(await readFile(join(unpacked, 'manifest.json'), 'utf8'));
    const { config } = JSON.parse(await readFile(join(unpacked, Config), 'utf8'));
    const root = join(directory, 'root');
    const manifest = 'app/dist/package.json';
    await mkdir(dirname(join(root, manifest)), { recursive: true });
    const packageJson = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8'));
    await writeFile(join(root, manifest), JSON.stringify({ ...packageJson, version: nextVersion }));
    const layers: string[] = Layers.map((layer: string) => join(unpacked, layer));
    await writeArchive(directory, name, [...layers, await layerOf(directory, root)], config);
    await rm(unpacked, { recursive: true });
  });
}

/** The database that tests put beside the sidecar. */
export async function databaseImage(): Promise<Image> {
  const base = await baseImage();
  const name = 'localhost/database:test';
  const files = databaseFiles.map((file) => join(checkout, file));
  return image('database', name, [base.archive, hashOf(files)], async (directory) => {
    const root = join(directory, 'root');
    for (const file of databaseFiles) await copyInto(root, join(checkout, file), join('/database', file));
    await writeFile(join(root, 'database', 'package.json'), '{"type": "module"}');
    const layers = [join(dirname(base.archive), 'layer.tar'), await layerOf(directory, root)];
    const config = { Entrypoint: ['/usr/local/bin/node', `/database/${databaseFiles[0]}`], User: '1000:1000' };
    await writeArchive(directory, name, layers, config);
  });
}

/** An image in the cache, made by `make` if it isn't there: `make` writes its archive into a directory. */
async function image(
  kind: string,
  name: string,
  madeFrom: readonly string[],
  make: (directory: string) => Promise<void>,
): Promise<Image> {
  // This file is a part of what each is made from.
  const own = hashOf([fileURLToPath(import.meta.url)]);
  const hash = createHash('sha256')
    .update([...madeFrom, own].join('\n'))
    .digest('hex');
  const prefix = `image-${kind}-`;
  const directory = await cached(`${prefix}${hash.slice(0, 16)}`, async (unfinished) => {
    process.stderr.write(`Making the image ${name}\n`);
    await make(unfinished);
    await rm(join(unfinished, 'root'), { recursive: true, force: true });
  });
  await pruneCache(prefix, keptMax);
  return { name, archive: join(directory, archiveName) };
}

/** What is called node:24-slim here; `layer.tar` lies beside its archive. */
async function baseImage(): Promise<Image> {
  const node = process.execPath;
  // npm's command is a link to npm/bin/npm-cli.js.
  const npm = dirname(dirname(await realpath(await programPath('npm', 'npm'))));
  const busybox = await programPath('busybox', 'busybox-static');
  const libraries = await sharedLibraries(node);
  const hash = hashOf([node, busybox, join(npm, 'package.json'), ...libraries]);
  return image('base', baseName, [hash], async (directory) => {
    const root = join(directory, 'root');
    for (const library of libraries) await copyInto(root, library, library);
    await copyInto(root, node, '/usr/local/bin/node');
    await copyInto(root, busybox, '/bin/busybox');
    await copyInto(root, npm, '/usr/local/lib/node_modules/npm');
    await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
    for (const applet of (await run(busybox, ['--list'])).trim().split('\n')) {
      if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
    }
    await mkdir(join(root, 'usr/bin'), { recursive: true });
    await symlink('/bin/env', join(root, 'usr/bin/env'));
    for (const name of ['etc', 'root', 'tmp']) await mkdir(join(root, name), { mode: name === 'tmp' ? 0o1777 : 0o755 });
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000:node:/tmp:/bin/sh\n');
    await writeFile(join(root, 'etc/group'), 'root:x:0:\nnode:x:1000:\n');
    await writeFile(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
    const layer = await layerOf(directory, root);
    await writeArchive(directory, baseName, [layer], { Env: ['PATH=/usr/local/bin:/usr/bin:/bin'] });
  });
}

/** Builds the Dockerfile: with storage of its own, so that two builds don't meet. */
async function build(directory: string, base: Image, name: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'walstorage-build-'));
  try {
    const storage = ['--root', join(work, 'root'), '--runroot', join(work, 'run'), '--storage-driver', 'overlay'];
    // In mounts of its own, which end with it.
    const buildah = async (...args: readonly string[]) => {
      const environment = { ...process.env, BUILDAH_ISOLATION: 'chroot', TMPDIR: work };
      return run('unshare', ['--mount', 'buildah', ...storage, ...args], { directory: checkout, environment });
    };
    const pulled = await buildah('pull', '--quiet', `docker-archive:${base.archive}`);
    await buildah('tag', pulled.trim(), baseName);
    const secrets = await registrySecrets(work);
    await buildah('bud', '--quiet', '--pull-never', '--layers=false', ...secrets, '--tag', name, '.');
    await buildah('push', '--quiet', name, `docker-archive:${join(directory, archiveName)}:${name}`);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** How npm reaches its registry on this machine, as secrets of the build: they are in no layer. */
async function registrySecrets(work: string): Promise<string[]> {
  const configurations = await Promise.all(
    ['globalconfig', 'userconfig'].map(async (key) => {
      const file = (await run('npm', ['config', 'get', key], { directory: work })).trim();
      return readFile(file, 'utf8').catch(() => '');
    }),
  );
  const npmrc = join(work, 'npmrc');
  const secrets = ['--secret', `id=npmrc,src=${npmrc}`];
  const authorities = [(await run('npm', ['config', 'get', 'cafile'], { directory: work })).trim()];
  authorities.push(process.env['NODE_EXTRA_CA_CERTS'] ?? '', authoritiesInBuild);
  for (const file of authorities) {
    const isFile = await stat(file).then(
      (found) => found.isFile(),
      () => false,
    );
    if (!isFile) continue;
    configurations.push(`cafile=${authoritiesInBuild}`);
    secrets.push('--secret', `id=ca,src=${file}`);
    break;
  }
  await writeFile(npmrc, `${configurations.join('\n')}\n`, { mode: 0o600 });
  return secrets;
}

/** The libraries that the dynamic loader gives a program, itself among them. */
async function sharedLibraries(program: string): Promise<string[]> {
  const listed = await run(program, [], { environment: { LD_TRACE_LOADED_OBJECTS: '1' } });
  return [...listed.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
}

/** Packs a directory as an image's layer, without its owners and times; resolves with its path. */
async function layerOf(directory: string, root: string): Promise<string> {
  const layer = join(directory, 'layer.tar');
  const sameEverywhere = ['--numeric-owner', '--owner=0', '--group=0', '--sort=name', '--mtime=@0'];
  await run('tar', ['-C', root, ...sameEverywhere, '-cf', layer, '.']);
  return layer;
}

/** Writes an archive of the form that `docker save` has. */
async function writeArchive(directory: string, name: string, layers: readonly string[], config: object): Promise<void> {
  const work = await mkdtemp(join(directory, 'archive-'));
  const hashes = layers.map(sha256Of);
  const names = hashes.map((hash) => `${hash}.tar`);
  for (const [index, layer] of layers.entries()) await cp(layer, join(work, names[index] ?? ''));
  const diffIds = hashes.map((hash) => `sha256:${hash}`);
  const rootfs = { type: 'layers', diff_ids: diffIds };
  const configuration = { architecture: architectures[process.arch], os: 'linux', config, rootfs };
  await writeFile(join(work, 'config.json'), JSON.stringify(configuration));
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: names }];
  await writeFile(join(work, 'manifest.json'), JSON.stringify(manifest));
  await run('tar', ['-C', work, '-cf', join(directory, archiveName), 'manifest.json', 'config.json', ...names]);
  await rm(work, { recursive: true });
}

/** How images call what Node calls otherwise. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

async function copyInto(root: string, from: string, path: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await cp(await realpath(from), join(root, path), { recursive: true });
}

function sha256Of(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** One hash of the names and contents of files. */
function hashOf(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files.toSorted()) hash.update(`${basename(file)} ${sha256Of(file)}\n`);
  return hash.digest('hex');
}

/** Without tests, which no image has. */
async function compiledFilesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !/\.(test|suite|fixture)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

async function programPath(program: string, aptPackage: string): Promise<string> {
  const found = await run('sh', ['-c', `command -v ${program}`]).catch((error: unknown) => {
    throw new Error(`${program} is missing: apt-get install ${aptPackage}, or npm run test:all`, { cause: error });
  });
  return found.trim();
}
