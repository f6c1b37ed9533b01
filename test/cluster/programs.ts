/**
 * Where the programs of a cluster come from: for a control plane the directory in KUBEBUILDER_ASSETS, if it has all that are
 * needed; else the user's cache; else a build of the Go modules beside, which fills the cache (the control plane some 5 minutes
 * on 2 cores and 3.2 GB of memory, the node's programs after that another minute or two).
 */
import { existsSync, readFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from './cache.ts';
import { CommandError, run } from './child.ts';
import { Progress } from './progress.ts';

export type ControlPlaneProgram = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler';
export type NodeProgram = 'kubelet' | 'kube-proxy' | 'coredns';

/** A Go module, and its packages that are programs: each by the name that it gets. */
interface Module {
  readonly directory: string;
  readonly packages: Readonly<Record<string, string>>;
}

const moduleDirectory = (name: string): string => fileURLToPath(new URL(`${name}/`, import.meta.url));
const kubernetesDirectory = moduleDirectory('go');
const dnsDirectory = moduleDirectory('go-dns');

const controlPlanePackages: Readonly<Record<ControlPlaneProgram, string>> = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
};

const controlPlane: readonly Module[] = [{ directory: kubernetesDirectory, packages: controlPlanePackages }];

/** Beside the control plane's, so that tests which need no node don't wait for them. */
const node: readonly Module[] = [
  {
    directory: kubernetesDirectory,
    packages: { kubelet: 'k8s.io/kubernetes/cmd/kubelet', 'kube-proxy': 'k8s.io/kubernetes/cmd/kube-proxy' },
  },
  { directory: dnsDirectory, packages: { coredns: 'walstorage-dns' } },
];

/** The version of Kubernetes that is built, without the v: what `go/go.mod` says. */
export function kubernetesVersion(): string {
  return moduleVersion(kubernetesDirectory, 'k8s.io/kubernetes');
}

/** The directory that holds the needed programs of a control plane, found or made. */
export async function programDirectory(needed: readonly ControlPlaneProgram[]): Promise<string> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets !== undefined && needed.every((name) => existsSync(join(assets, name)))) return assets;
  const etcd = moduleVersion(kubernetesDirectory, 'go.etcd.io/etcd/server/v3');
  return built(`kubernetes-${kubernetesVersion()}-etcd-${etcd}`, 'Kubernetes and etcd', controlPlane);
}

/** The directory that holds all programs of a node, found or made. */
export async function nodeProgramDirectory(): Promise<string> {
  const dns = moduleVersion(dnsDirectory, 'github.com/coredns/coredns');
  return built(`kubernetes-node-${kubernetesVersion()}-coredns-${dns}`, 'kubelet, kube-proxy and CoreDNS', node);
}

async function built(versions: string, what: string, modules: readonly Module[]): Promise<string> {
  const name = `${versions}-${process.platform}-${process.arch}`;
  return cached(name, (directory) => build(directory, `${what} (${versions})`, modules));
}

async function build(directory: string, what: string, modules: readonly Module[]): Promise<void> {
  const toolchain = await run('go', ['version']).catch((error: unknown) => {
    throw new Error(
      `The tests of the API need Go to build ${what}, once: put \`go\` on the PATH. For tests without a node, KUBEBUILDER_ASSETS may name a directory with etcd, kube-apiserver, kube-controller-manager and kube-scheduler instead.`,
      { cause: error },
    );
  });
  const progress = new Progress(`Building ${what}, once, with ${toolchain.trim()}`);
  try {
    for (const module of modules) await buildWith(directory, module, (percent) => progress.at(percent));
  } catch (error) {
    const reason = error instanceof CommandError ? error.stderr.split('\n').slice(-5).join('\n') : String(error);
    throw new Error(`${what} could not be built in test/cluster:\n${reason}`, { cause: error });
  } finally {
    progress.end();
  }
}

async function buildWith(output: string, module: Module, at: (percent: number) => void): Promise<void> {
  const { directory, packages } = module;
  const environment = {
    ...process.env,
    // Without garbage collection the compiler is a third faster; the build then takes 3.2 GB at most.
    GOGC: process.env['GOGC'] ?? 'off',
    CGO_ENABLED: '0',
    GOFLAGS: '-trimpath -buildvcs=false -mod=readonly',
  };
  const names = Object.values(packages);
  // Listing fetches the modules too.
  const listed = await run('go', ['list', '-deps', ...names], { directory, environment });
  const total = listed.trim().split('\n').length;
  let count = 0;
  const flags = ['-gcflags=all=-dwarf=false', '-tags=grpcnotrace', `-ldflags=${linkerFlags()}`];
  await run('go', ['build', '-v', ...flags, '-o', `${output}/`, ...names], {
    directory,
    environment,
    onStderr: (piece) => {
      count += piece.split('\n').length - 1;
      at(Math.min(99, (100 * count) / total));
    },
  });
  for (const [program, name] of Object.entries(packages)) {
    const written = basename(name).replace(/^v\d+$/, basename(join(name, '..')));
    if (written !== program) await rename(join(output, written), join(output, program));
  }
}

/** Without these the API server calls itself v0.0.0-master, and refuses to start. */
function linkerFlags(): string {
  const version = kubernetesVersion();
  const [major, minor] = version.split('.');
  const values = { gitVersion: `v${version}`, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  const sets = Object.entries(values).map(([key, value]) => `-X k8s.io/component-base/version.${key}=${value}`);
  return ['-s', '-w', ...sets].join(' ');
}

function moduleVersion(directory: string, module: string): string {
  const line = readFileSync(join(directory, 'go.mod'), 'utf8')
    .split('\n')
    .map((text) =>
      text
        .replace(/^require /, '')
        .trim()
        .split(' '),
    )
    .find(([name, version]) => (name === module && version?.startsWith('v')) ?? false);
  const version = line?.[1];
  if (version === undefined) throw new Error(`${join(directory, 'go.mod')} requires no ${module}: add it`);
  return version.slice(1);
}
