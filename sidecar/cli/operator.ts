/** `walstorage operator`: runs until SIGTERM or SIGINT. */
import { endingSignal } from './ending.ts';
import { flushed, makeLogger } from './logger.ts';
import { exitStatus, type Terminal } from './terminal.ts';

export interface OperatorOptions {
  readonly kubeconfig?: string;
  readonly http: string;
  readonly namespace: readonly string[];
  readonly webhook?: string;
  readonly image?: string;
  readonly tlsDir?: string;
  readonly logLevel: string;
}

/** Resolves with the exit status when the operator has ended. */
export async function runOperatorCommand(options: OperatorOptions, terminal: Terminal): Promise<number> {
  const { runOperator } = await import('../../operator/command.ts');
  const ending = new AbortController();
  void endingSignal().then(() => ending.abort());
  const { namespace: namespaces, logLevel, ...flags } = options;
  const logger = await makeLogger(logLevel);
  try {
    await runOperator({ ...flags, namespaces, logger, signal: ending.signal });
    return exitStatus.fine;
  } catch (error) {
    terminal.stderr.write(`walstorage operator: ${error instanceof Error ? error.message : String(error)}\n`);
    return exitStatus.wrong;
  } finally {
    await flushed(logger);
  }
}
