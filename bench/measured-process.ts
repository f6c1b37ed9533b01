/** A server that runs for a measurement: started, asked until it answers, measured by what the kernel knows of it, ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const startLimitMs = 30_000;
const pollMs = 20;
/** `sysconf(_SC_CLK_TCK)` on Linux: what /proc counts processor time in. */
const ticksPerSecond = 100;

export class MeasuredProcess {
  readonly #child: ChildProcess;
  readonly #logFile: string;

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child;
    this.#logFile = logFile;
  }

  /** Starts it; its output goes to `logFile`. Resolves when it answers PING on its socket. */
  static async start(command: readonly string[], socket: string, logFile: string): Promise<MeasuredProcess> {
    const [program = '', ...args] = command;
    const log = openSync(logFile, 'a');
    const child = spawn(program, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    const started = new MeasuredProcess(child, logFile);
    const endMs = performance.now() + startLimitMs;
    while (!(await answers(socket))) {
      if (child.exitCode !== null || performance.now() > endMs) {
        child.kill('SIGKILL');
        throw new Error(`${program} does not answer on ${socket}: ${await readFile(logFile, 'utf8')}`);
      }
      await sleep(pollMs);
    }
    return started;
  }

  /** Processor time that it has taken so far, over all its threads. */
  async cpuSeconds(): Promise<number> {
    const stat = await readFile(`/proc/${this.#child.pid}/stat`, 'utf8');
    // The second field is a name in parentheses that may hold spaces: fields are counted behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [userTicks, systemTicks] = [Number(fields[11]), Number(fields[12])];
    return (userTicks + systemTicks) / ticksPerSecond;
  }

  /** The most memory that it ever had resident. */
  async peakResidentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** Ends it by SIGTERM. Throws when it did not end well. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
    if (this.#child.exitCode === 0) return;
    throw new Error(`it ended with ${this.#child.exitCode}: ${await readFile(this.#logFile, 'utf8')}`);
  }
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [reply]: unknown[] = await once(socket, 'data');
    return String(reply).startsWith('+PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
