/**
 * A sidecar process of a test: `walstorage sidecar` from this checkout, in directories of the test's own. It dies with the test
 * that started it, whatever happens to that.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { RespClient } from './resp-client.ts';

const mainFile = fileURLToPath(new URL('../sidecar/cli/main.ts', import.meta.url));
/** Other tests may have the processor for long. */
const startLimitMs = 60_000;
const waitLimitMs = 30_000;
const pollMs = 10;

/** A directory for a test's files; `end` removes it. */
export class Workplace {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<Workplace> {
    return new Workplace(await mkdtemp(join(tmpdir(), 'walstorage-test-')));
  }

  path(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  /** Configuration text for WAL directories `names` in here, with more keys of `[storage.wal_config]`. */
  configuration(names: readonly string[], keys: Readonly<Record<string, string | number>> = {}): string {
    const urls = names.map((name) => JSON.stringify(name.includes('://') ? name : `file://${this.path(name)}`));
    const lines = Object.entries(keys).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    return ['[storage.wal_config]', `wal_urls = [${urls.join(', ')}]`, ...lines, ''].join('\n');
  }

  async end(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

export interface SidecarStart {
  readonly workplace: Workplace;
  /** The configuration's text, written beside the socket; where `configurationFile` is given, that is there already. */
  readonly configuration: string;
  readonly configurationFile?: string;
  /** HOST:PORT; a free port on loopback if not given. */
  readonly http?: string;
  /** The socket's name in the workplace. */
  readonly socket?: string;
  /** Program and arguments that run the sidecar, such as strace. */
  readonly before?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** A line of its log. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [key: string]: unknown;
}

export class RunningSidecar {
  readonly socketPath: string;
  readonly configurationFile: string;
  readonly #process: ChildProcess;
  readonly #exit: Promise<number>;
  readonly #clients: RespClient[] = [];
  #stdout = '';
  stderr = '';
  #ended = false;

  private constructor(child: ChildProcess, socketPath: string, configurationFile: string) {
    this.#process = child;
    this.socketPath = socketPath;
    this.configurationFile = configurationFile;
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      this.#stdout += piece;
    });
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
      this.stderr += piece;
    });
    this.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) => {
        this.#ended = true;
        resolve(status ?? 128 + (signal === 'SIGKILL' ? 9 : 15));
      });
    });
  }

  /** Starts the process; resolves at once. */
  static async spawn(start: SidecarStart): Promise<RunningSidecar> {
    const { workplace, socket = 'wal.sock', before = [], environment = {}, http = '127.0.0.1:0' } = start;
    const socketPath = workplace.path(socket);
    const configurationFile = start.configurationFile ?? workplace.path(`${socket}.toml`);
    if (start.configurationFile === undefined) await writeFile(configurationFile, start.configuration);
    const flags = ['sidecar', '--config', configurationFile, '--socket', socketPath, '--http', http];
    const [program = '', ...args] = [...diesWithParent(), ...before, process.execPath, mainFile, ...flags];
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // The compiled code stays in the workplace: a test starts many processes.
      env: { ...process.env, NODE_COMPILE_CACHE: workplace.path('compiled'), ...environment },
    });
    return new RunningSidecar(child, socketPath, configurationFile);
  }

  /** Starts it; resolves when it serves. */
  static async start(start: SidecarStart): Promise<RunningSidecar> {
    const sidecar = await RunningSidecar.spawn(start);
    await sidecar.serving();
    return sidecar;
  }

  /** Resolves when it serves; rejects with what it said when it ends instead. */
  async serving(): Promise<void> {
    await within(startLimitMs, 'the sidecar serves', () => {
      if (this.#ended) throw new Error(`the sidecar ended: ${this.stderr}${this.#stdout}`);
      return this.logged('serving') !== undefined;
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** What it has logged so far. */
  get log(): readonly LogLine[] {
    const lines = this.#stdout.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    return lines.map((line): LogLine => JSON.parse(line));
  }

  /** The first line of its log whose message has `words`. */
  logged(words: string): LogLine | undefined {
    return this.#stdout.includes(words) ? this.log.find((line) => line.msg.includes(words)) : undefined;
  }

  /** What it answers to a GET of this path over HTTP, once it serves: JSON. */
  async get<Answer>(path: string): Promise<Answer> {
    const response = await fetch(`http://${String(this.logged('serving')?.['http'])}${path}`);
    const answer: Answer = JSON.parse(await response.text());
    return answer;
  }

  async connect(): Promise<RespClient> {
    const client = await RespClient.connect(this.socketPath);
    this.#clients.push(client);
    return client;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Its exit status when it has ended (128 and more: by a signal). */
  async exit(): Promise<number> {
    return this.#exit;
  }

  /** Ends it by SIGTERM; resolves with the exit status. */
  async stop(): Promise<number> {
    this.signal('SIGTERM');
    return this.#leave();
  }

  /** Ends it by SIGKILL. Does nothing where it has ended. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#leave();
  }

  async #leave(): Promise<number> {
    const status = await this.#exit;
    await Promise.all(this.#clients.splice(0).map((client) => client.close()));
    return status;
  }
}

/** Resolves when the condition holds; rejects after `limitMs` with what was waited for. */
export async function within(
  limitMs: number,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${limitMs / 1000} s passed, and it never came to this: ${what}`);
    await sleep(pollMs);
  }
}

/** As `within`, for half a minute. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await within(waitLimitMs, what, condition);
}

/** Has the kernel kill the process when we die; nothing where the system has no such program. */
function diesWithParent(): readonly string[] {
  return existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : [];
}
