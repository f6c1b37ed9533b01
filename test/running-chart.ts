/** The chart on a real API server, by helm as people type it. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { chart, release } from '../charts/rendering.ts';
import type { ControlPlane } from './cluster/control-plane.ts';
import { helmCommand } from './cluster/helm.ts';

const repository = ['--set', 'image.repository=registry.example.com/walstorage'];

export interface Release {
  readonly name: string;
  readonly namespace: string;
}

/** helm against one control plane. */
export class HelmOn {
  readonly #plane: ControlPlane;

  constructor(plane: ControlPlane) {
    this.#plane = plane;
  }

  /** Installs the chart, in a namespace that is made. Returns what helm prints. */
  install(flags: readonly string[] = [], { name, namespace }: Release = release): Promise<string> {
    return this.#run(['install', name, chart, '-n', namespace, '--create-namespace', ...repository, ...flags]);
  }

  /** Upgrades the release to a chart, by default the same. */
  upgrade(flags: readonly string[] = [], { name, namespace }: Release = release, to = chart): Promise<string> {
    return this.#run(['upgrade', name, to, '-n', namespace, ...repository, ...flags]);
  }

  uninstall({ name, namespace }: Release = release): Promise<string> {
    return this.#run(['uninstall', name, '-n', namespace, '--ignore-not-found']);
  }

  async #run(args: readonly string[]): Promise<string> {
    const { kubeconfig, directory } = this.#plane;
    const homes = ['CACHE', 'CONFIG', 'DATA'].map((kind) => [`HELM_${kind}_HOME`, join(directory, 'helm')]);
    const environment = { ...process.env, ...Object.fromEntries(homes), KUBECONFIG: kubeconfig };
    return this.#plane.run(await helmCommand(), args, { environment });
  }
}

/** A copy of the chart whose CRD has one more column, `Added`, until the test ends. */
export async function chartWithChangedCrd(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-chart-'));
  t.after(() => rm(directory, { recursive: true }));
  const copy = join(directory, 'walstorage');
  await cp(chart, copy, { recursive: true });
  const file = join(copy, 'templates', 'crd.yaml');
  const text = await readFile(file, 'utf8');
  const columns = 'additionalPrinterColumns:\n';
  const added = `${columns}        - {name: Added, type: integer, jsonPath: .status.urlCount}\n`;
  await writeFile(file, text.replace(columns, added));
  return copy;
}
