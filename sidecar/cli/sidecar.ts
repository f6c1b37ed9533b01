/** `walstorage sidecar`: checks what it was given, starts, reads its file again at SIGHUP, and ends in good order at SIGTERM or SIGINT (E24). */
import { refuseUnsupported } from '../config/parse.ts';
import { format } from '../config/problem.ts';
import { Sidecar } from '../sidecar.ts';
import { endingSignal } from './ending.ts';
import { flushed, makeLogger } from './logger.ts';
import { exitStatus, loadConfiguration, type Terminal } from './terminal.ts';

/** libuv's threads: its own default, and the two calls that each of at most 32 URLs of 5 components has under way (E2). */
const libuvThreads = 4 + 2 * 32;

export interface SidecarOptions {
  readonly config: string;
  readonly socket: string;
  readonly http: string;
  readonly logLevel: string;
}

/** Resolves with the exit status when the sidecar has ended. */
export async function runSidecar(options: SidecarOptions, terminal: Terminal): Promise<number> {
  // libuv reads it when its threads are first used, which is later than this.
  process.env['UV_THREADPOOL_SIZE'] ??= String(libuvThreads);
  const loaded = await loadConfiguration(options.config, terminal);
  if (loaded === undefined) return exitStatus.configuration;
  const unsupported = refuseUnsupported(loaded.configuration);
  if (unsupported.length > 0) {
    terminal.stderr.write(`${options.config}: this version cannot serve it:\n  ${format(unsupported)}`);
    return exitStatus.configuration;
  }
  const logger = await makeLogger(options.logLevel);
  const sidecar = new Sidecar({
    configuration: loaded.configuration,
    configurationFile: options.config,
    configHash: loaded.hash,
    socketPath: options.socket,
    http: options.http,
    environment: terminal.environment,
    logger,
  });
  const ending = endingSignal();
  // On a terminal it is the hang-up, which ends the process as always.
  if (!process.stdin.isTTY) process.on('SIGHUP', () => void sidecar.reload());
  try {
    const signal = await Promise.race([ending, sidecar.start()]);
    if (signal !== undefined) {
      // What a start has done by then it may have done at any kill -9; the kernel gives the locks back.
      logger.info({ signal }, 'ending before it served');
      return exitStatus.fine;
    }
    if (isForPeople(terminal)) terminal.stdout.write(nextSteps(options.socket, sidecar.httpAddress));
    logger.info({ signal: await ending }, 'ending');
    await sidecar.close();
    return exitStatus.fine;
  } catch (error) {
    logger.fatal({ err: error }, 'the sidecar cannot go on');
    terminal.stderr.write(`walstorage sidecar: ${error instanceof Error ? error.message : String(error)}\n`);
    await sidecar.close();
    return exitStatus.wrong;
  } finally {
    await flushed(logger);
  }
}

/** Whether a person started it: on a terminal, or by `npm start` wherever that writes to. Else standard output is the log alone. */
function isForPeople({ environment }: Terminal): boolean {
  return process.stdout.isTTY || environment['npm_lifecycle_event'] === 'start';
}

function nextSteps(socket: string, http: string): string {
  return `
The log is served on ${socket}. In another terminal:

  npm run --silent walstorage -- append orders 'first entry' --socket ${socket}
  npm run --silent walstorage -- read orders --socket ${socket}
  redis-cli -s ${socket} WAL.APPEND orders '*' INSERT key1 'second entry'
  redis-cli -s ${socket} WAL.STAT orders

Status page: http://${http}/   Ctrl-C ends it; what was acknowledged stays.

`;
}
