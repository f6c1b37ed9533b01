/**
 * Where etcd and the programs of Kubernetes come from: the directory in KUBEBUILDER_ASSETS, if it has all that are needed; else
 * the user's cache; else a build of the Go modules in `go/`, which fills the cache (some 4 minutes on 2 cores, 3.2 GB of memory).
 */
import { existsSync, readFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from './cache.ts';
import { CommandError, run } from './child.ts';
import { Progress } from './progress.ts';

export type ProgramName = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler';

/** The Go package of each program. */
const packages: Readonly<Record<ProgramName, string>> = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
};

const modules = fileURLToPath(new URL('go/', import.meta.url));

/** The version of Kubernetes that is built, without the v: what `go/go.mod` says. */
export function kubernetesVersion(): string {
  return moduleVersion('k8s.io/kubernetes');
}

/** The directory that holds the needed programs, found or made. */
export async function programDirectory(needed: readonly ProgramName[]): Promise<string> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets !== undefined && needed.every((name) => existsSync(join(assets, name)))) return assets;
  const versions = `kubernetes-${kubernetesVersion()}-etcd-${moduleVersion('go.etcd.io/etcd/server/v3')}`;
  return cached(`${versions}-${process.platform}-${process.arch}`, build);
}

async function build(directory: string): Promise<void> {
  const toolchain = await run('go', ['version']).catch((error: unknown) => {
    throw new Error(
      'The tests of the API need Go to build etcd and Kubernetes, once: put `go` on the PATH, or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver, kube-controller-manager and kube-scheduler.',
      { cause: error },
    );
  });
  const progress = new Progress(`Building Kubernetes ${kubernetesVersion()} and etcd, once, with ${toolchain.trim()}`);
  try {
    await buildWith(directory, (percent) => progress.at(percent));
  } catch (error) {
    const reason = error instanceof CommandError ? error.stderr.split('\n').slice(-5).join('\n') : String(error);
    throw new Error(`etcd and Kubernetes could not be built in test/cluster/go:\n${reason}`, { cause: error });
  } finally {
    progress.end();
  }
}

async function buildWith(directory: string, at: (percent: number) => void): Promise<void> {
  const environment = {
    ...process.env,
    // Without garbage collection the compiler is a third faster; the build then takes 3.2 GB at most.
    GOGC: process.env['GOGC'] ?? 'off',
    CGO_ENABLED: '0',
    GOFLAGS: '-trimpath -buildvcs=false -mod=readonly',
  };
  const names = Object.values(packages);
  // Listing fetches the modules too.
  const listed = await run('go', ['list', '-deps', ...names], { directory: modules, environment });
  const total = listed.trim().split('\n').length;
  let built = 0;
  const flags = ['-gcflags=all=-dwarf=false', '-tags=grpcnotrace', `-ldflags=${linkerFlags()}`];
  await run('go', ['build', '-v', ...flags, '-o', `${directory}/`, ...names], {
    directory: modules,
    environment,
    onStderr: (piece) => {
      built += piece.split('\n').length - 1;
      at(Math.min(99, (100 * built) / total));
    },
  });
  await rename(join(directory, 'server'), join(directory, 'etcd'));
}

/** Without these the API server calls itself v0.0.0-master, and refuses to start. */
function linkerFlags(): string {
  const version = kubernetesVersion();
  const [major, minor] = version.split('.');
  const values = { gitVersion: `v${version}`, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  const sets = Object.entries(values).map(([key, value]) => `-X k8s.io/component-base/version.${key}=${value}`);
  return ['-s', '-w', ...sets].join(' ');
}

function moduleVersion(module: string): string {
  const line = readFileSync(join(modules, 'go.mod'), 'utf8')
    .split('\n')
    .map((text) => text.trim().split(' '))
    .find(([name, version]) => (name === module && version?.startsWith('v')) ?? false);
  const version = line?.[1];
  if (version === undefined) throw new Error(`test/cluster/go/go.mod requires no ${module}: add it`);
  return version.slice(1);
}
