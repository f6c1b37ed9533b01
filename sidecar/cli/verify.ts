/**
 * `walstorage verify`: the report over a configuration and its directories: the section found, each key's value, what
 * each directory holds, and what is wrong with it. It writes nothing and may run beside a sidecar at work.
 */
import { refuseUnsupported } from '../config/parse.ts';
import { format } from '../config/problem.ts';
import type { StorageUrl } from '../config/storage-url.ts';
import { DiskFileSystem } from '../storage/disk.ts';
import { openFileStorage } from '../storage/file.ts';
import type { Storage } from '../storage/storage.ts';
import { verifyStorage } from '../verify/verification.ts';
import { settingsOf } from './settings.ts';
import { exitStatus, loadConfiguration, type OutputForm, type Terminal } from './terminal.ts';
import { describeVerification } from './verify-report.ts';

export interface VerifyOptions {
  readonly config: string;
  readonly output: OutputForm;
}

/** Writes the report to stdout; resolves with the exit status: 0 fine, 1 something is wrong, 2 bad configuration. */
export async function verify({ config, output }: VerifyOptions, terminal: Terminal): Promise<number> {
  const loaded = await loadConfiguration(config, terminal);
  if (loaded === undefined) return exitStatus.configuration;
  const { configuration, written, warnings } = loaded;
  const unsupported = refuseUnsupported(configuration);
  if (unsupported.length > 0) {
    terminal.stderr.write(`${config}: a sidecar of this version refuses it:\n  ${format(unsupported)}`);
    return exitStatus.configuration;
  }
  const sections = settingsOf(configuration, written);
  const { components, findings } = await verifyStorage(configuration, openStorage);
  const isFine = !findings.some(({ level }) => level === 'wrong');
  const report = { config, ok: isFine, renderedBy: configuration.renderedBy, sections, warnings, components, findings };
  terminal.stdout.write(
    output === 'json' ? `${JSON.stringify(report, undefined, 2)}\n` : describeVerification(report, terminal.stdout),
  );
  return isFine ? exitStatus.fine : exitStatus.wrong;
}

function openStorage({ scheme, url, path }: StorageUrl): Storage | undefined {
  return scheme === 'file' ? openFileStorage(url, path, new DiskFileSystem()) : undefined;
}
