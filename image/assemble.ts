/**
 * Assembles the root directory of the image from a checkout that was built and pruned: Node with its shared libraries, the
 * compiled code, the packages that it needs without what only people and compilers read, and the list of all of that. There is no
 * shell, no package manager and no other program in it. Run by the Dockerfile: `node image/assemble.ts <directory>`.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, relative } from 'node:path';
import { promisify } from 'node:util';

/** Where the image tells what it consists of: CycloneDX, JSON. */
const bomFile = 'app/sbom.cdx.json';
const nodeFile = 'usr/local/bin/node';
const commandFile = 'usr/local/bin/walstorage';
const user = 'walstorage:x:1000:1000:walstorage:/app:/sbin/nologin\n';

/** Brings Node to a checkout; the image has its own. */
const nodePackages = /^(node|node-bin-.*)$/;
/** Packages of types alone. */
const typePackages = /^(@types|undici-types)$/;
/** What no program loads. */
const unreadExtensions = new Set(['.map', '.ts', '.mts', '.cts', '.md', '.markdown', '.c', '.h', '.cc']);
const unreadNames = new Set(['.bin', '.package-lock.json', 'CMakeLists.txt']);
/** Directories at the top of a package that are for its developers. */
const developersDirectories = /^(\.github|docs?|tests?|__tests__|examples?|benchmarks?)$/;
const license = /^(licen[cs]e|notice|copying)/i;

const run = promisify(execFile);

async function assemble(root: string): Promise<void> {
  await mkdir(join(root, 'tmp'), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  const libraries = await sharedLibraries(process.execPath);
  for (const library of libraries) await copy(library, join(root, library));
  await copy(process.execPath, join(root, nodeFile));
  await copy('dist', join(root, 'app/dist'));
  await copy('LICENSE', join(root, 'app/LICENSE'));
  await cp('node_modules', join(root, 'app/node_modules'), { recursive: true, filter: isLoaded });
  await writeFiles(root, {
    'etc/passwd': user,
    'etc/group': 'walstorage:x:1000:\n',
    'etc/nsswitch.conf': 'hosts: files dns\n',
    [commandFile]: `#!/${nodeFile}\nimport('/app/dist/sidecar/cli/main.js');\n`,
    [bomFile]: JSON.stringify(await bom(root, libraries), null, 1),
  });
  await chmod(join(root, commandFile), 0o755);
}

/** The libraries that the dynamic loader gives a program, itself among them. */
async function sharedLibraries(program: string): Promise<string[]> {
  const { stdout } = await run(program, [], { env: { LD_TRACE_LOADED_OBJECTS: '1' } });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
}

/** Copies a file or directory; links are replaced by what they point to. */
async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await cp(from, to, { recursive: true, dereference: true });
}

async function writeFiles(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

/** Whether a program may load this file or directory of node_modules. */
function isLoaded(path: string): boolean {
  const parts = relative('node_modules', path).split('/');
  const name = basename(path);
  const isPackage = parts.length === 1 || parts.at(-2) === 'node_modules';
  if (isPackage && (nodePackages.test(name) || typePackages.test(name))) return false;
  if (license.test(name)) return true;
  // Native code of other systems.
  if (parts.at(-2) === 'prebuilds' && name !== `${process.platform}-${process.arch}`) return false;
  if (developersDirectories.test(name) && existsSync(join(dirname(path), 'package.json'))) return false;
  return !unreadNames.has(name) && !unreadExtensions.has(extname(name));
}

interface Component {
  readonly type: string;
  readonly name: string;
  readonly version?: string;
  readonly 'bom-ref'?: string;
  readonly [key: string]: unknown;
}

interface Bom {
  readonly metadata: { readonly component: { readonly 'bom-ref': string } };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

/**
 * npm's list of packages, as far as they are in the image, with Node and its libraries.
 * npm's own `--omit=dev` leaves out what both a dependency and a development dependency need.
 */
async function bom(root: string, libraries: readonly string[]): Promise<Bom> {
  const flags = ['--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'];
  const { stdout } = await run('npm', ['sbom', ...flags], { maxBuffer: 64 << 20 });
  const listed: Bom = JSON.parse(stdout);
  const installed = await installedPackages(join(root, 'app/node_modules'));
  const packages = listed.components.filter(({ name, version }) => installed.has(`${name}@${version}`));
  const refs = new Set([...packages.map((one) => String(one['bom-ref'])), listed.metadata.component['bom-ref']]);
  const dependencies = listed.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((one) => refs.has(one)) }));
  const version = process.versions.node;
  const node = { type: 'platform', name: 'node', version, purl: `pkg:generic/node@${version}` };
  const files = await Promise.all(libraries.map(libraryComponent));
  return { ...listed, components: [...packages, node, ...files], dependencies };
}

/** What is installed below a directory `node_modules`: name@version. */
async function installedPackages(directory: string): Promise<Set<string>> {
  const manifest = /(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/;
  const found = new Set<string>();
  for (const path of await readdir(directory, { recursive: true })) {
    if (!manifest.test(`node_modules/${path}`)) continue;
    const { name, version } = JSON.parse(await readFile(join(directory, path), 'utf8'));
    found.add(`${name}@${version}`);
  }
  return found;
}

async function libraryComponent(path: string): Promise<Component> {
  const content = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  return { type: 'file', name: path, hashes: [{ alg: 'SHA-256', content }] };
}

const [target] = process.argv.slice(2);
if (target === undefined) throw new Error('image/assemble.ts needs the directory to fill as its argument');
await assemble(target);
