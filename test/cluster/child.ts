/** Programs that we start: run to the end for their output, or kept running and ended with us. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { text } from 'node:stream/consumers';

/** A program ended with an exit status other than 0, or could not be started. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  /** What it wrote to standard error, without the surrounding white space. */
  readonly stderr: string;

  constructor(message: string, stderr: string, options?: ErrorOptions) {
    super(message, options);
    this.stderr = stderr;
  }
}

export interface RunOptions {
  /** What is written to its standard input, which is then closed. */
  readonly input?: string;
  readonly directory?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Is given each piece of standard error as it comes. */
  readonly onStderr?: (piece: string) => void;
}

/**
 * Runs a program to its end.
 * @returns its standard output
 * @throws CommandError with what it wrote to standard error
 */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    cwd: options.directory,
    env: options.environment ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal ?? 'unknown'));
  });
  // A program that does not read all of its input closes the pipe: its exit status tells more than EPIPE.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  child.stderr.setEncoding('utf8');
  let stderr = '';
  child.stderr.on('data', (piece: string) => {
    stderr += piece;
    options.onStderr?.(piece);
  });
  const output = text(child.stdout);
  const status = await ended.catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError(`${command} could not be started: ${reason}`, '', { cause: error });
  });
  if (status === 0) return output;
  throw new CommandError(
    `${basename(command)} ${args.join(' ')} ended with ${status}: ${stderr.trim()}`,
    stderr.trim(),
  );
}

/** A program that goes on beside us. On Linux the kernel ends it when we end, however that comes. */
export class Child {
  readonly name: string;
  readonly logFile: string;
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  #running = true;

  /**
   * Starts it; its output goes to the end of `logFile`.
   * @param name how messages call it
   */
  constructor(
    name: string,
    command: string,
    args: readonly string[],
    options: { readonly logFile: string; readonly directory?: string; readonly environment?: NodeJS.ProcessEnv },
  ) {
    this.name = name;
    this.logFile = options.logFile;
    const log = openSync(options.logFile, 'a');
    const [program, ...before] = endsWithParent();
    const words = [...before, command, ...args];
    this.#process = spawn(program ?? command, program === undefined ? args : words, {
      cwd: options.directory,
      env: options.environment ?? process.env,
      stdio: ['ignore', log, log],
      // In a session of its own it does not get the Ctrl-C that a terminal sends to us: we end it in order.
      detached: true,
    });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      const end = () => {
        this.#running = false;
        resolve();
      };
      this.#process.once('exit', end);
      this.#process.once('error', end);
    });
  }

  /** Undefined where it could not be started. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Resolves when it has ended. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Sends the signal; returns at once. */
  signal(signal: NodeJS.Signals): void {
    if (this.#running) this.#process.kill(signal);
  }

  /** Asks it to end by SIGTERM, and kills it when it takes longer than `withinMs`; waits for its end. */
  async end(withinMs: number): Promise<void> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), withinMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends it by SIGKILL, and waits for its end. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#ended;
  }

  /** The last lines that it wrote. */
  lastLines(count = 20): string {
    return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  }
}

/** What to put before a command so that the kernel kills it when we die; nothing where the system has no such program. */
function endsWithParent(): readonly string[] {
  return existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : [];
}
