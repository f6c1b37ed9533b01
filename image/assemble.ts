/**
 * Assembles the root directory of the image from a checkout that was built and pruned: Node with its shared libraries, the
 * compiled code, the packages that it needs without what only people and compilers read, and the list of all of that. There is no
 * shell, no package manager and no other program in it. Run by the Dockerfile: `node image/assemble.ts <directory>`.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
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
const typePackages = /^@types$/;
/** What no program loads. */
const unreadExtensions = new Set(['.map', '.ts', '.mts', '.cts', '.md', '.markdown', '.c', '.h', '.cc', '.txt']);
const unreadNames =
  /^(\.bin|\.package-lock\.json|\.github|docs?|tests?|__tests__|examples?|benchmarks?|CMakeLists\.txt)$/i;
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
    [bomFile]: JSON.stringify(await bom(libraries), null, 1),
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
  if (parts.length === 1 && (nodePackages.test(name) || typePackages.test(name))) return false;
  if (license.test(name)) return true;
  // Native code of other systems.
  if (parts.at(-2) === 'prebuilds' && name !== `${process.platform}-${process.arch}`) return false;
  return !unreadNames.test(name) && !unreadExtensions.has(extname(name));
}

interface Component {
  readonly type: string;
  readonly name: string;
  readonly version?: string;
  readonly 'bom-ref'?: string;
  readonly [key: string]: unknown;
}

interface Bom {
  components: Component[];
  dependencies: { readonly ref: string; dependsOn?: string[] }[];
}

/** npm's list of packages, with the Node and the libraries that are really there instead of the package that brings Node. */
async function bom(libraries: readonly string[]): Promise<Bom> {
  const flags = ['--package-lock-only', '--omit=dev', '--sbom-format=cyclonedx', '--sbom-type=application'];
  const { stdout } = await run('npm', ['sbom', ...flags], { maxBuffer: 64 << 20 });
  const listed: Bom = JSON.parse(stdout);
  const gone = new Set(
    listed.components.filter(({ name }) => nodePackages.test(name)).map((one) => String(one['bom-ref'])),
  );
  const version = process.versions.node;
  const node = { type: 'platform', name: 'node', version, purl: `pkg:generic/node@${version}` };
  const shared = libraries.map(async (path) => {
    const content = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    return { type: 'file', name: path, hashes: [{ alg: 'SHA-256', content }] };
  });
  const components = listed.components.filter((one) => !gone.has(String(one['bom-ref'])));
  const dependencies = listed.dependencies.filter(({ ref }) => !gone.has(ref));
  for (const one of dependencies) {
    if (one.dependsOn !== undefined) one.dependsOn = one.dependsOn.filter((ref) => !gone.has(ref));
  }
  return { ...listed, components: [...components, node, ...(await Promise.all(shared))], dependencies };
}

const [target] = process.argv.slice(2);
if (target === undefined) throw new Error('image/assemble.ts needs the directory to fill as its argument');
await assemble(target);
