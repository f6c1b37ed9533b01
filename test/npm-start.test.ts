/** `npm start` as a newcomer meets it: what it says, that what it says works, and how it ends. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from './cluster/child.ts';
import { program, testNeeding } from './requirement.ts';
import { until, Workplace } from './running-sidecar.ts';

const limits = { timeout: 120_000 };
const repository = new URL('../', import.meta.url);
const lastLine = 'Ctrl-C ends it; what was acknowledged stays.';
const terminal = program('script', ['--version'], 'bsdutils');

interface Started {
  readonly process: ChildProcess;
  readonly directory: string;
  readonly output: () => string;
  readonly status: Promise<number | null>;
}

/** Runs the command in a directory that has all that `npm start` needs of the checkout, and no `data`; resolves when it serves. */
async function start(context: TestContext, command: string, ...args: readonly string[]): Promise<Started> {
  const workplace = await Workplace.make();
  for (const name of ['package.json', 'node_modules', 'sidecar', 'examples']) {
    await symlink(fileURLToPath(new URL(name, repository)), workplace.path(name));
  }
  const child = spawn(command, args, {
    cwd: workplace.directory,
    // A process group of its own, so that the end of the test can end all of it.
    detached: true,
    env: { ...process.env, WALSTORAGE_HTTP: '127.0.0.1:0' },
  });
  let output = '';
  const take = (piece: Buffer): void => void (output += piece.toString());
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  let hasEnded = false;
  const status = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      hasEnded = true;
      resolve(code);
    });
  });
  context.after(async () => {
    if (child.pid !== undefined && !hasEnded) process.kill(-child.pid, 'SIGKILL');
    await status;
    await workplace.end();
  });
  await until('it says what to type next', () => {
    assert.ok(!hasEnded, output);
    return output.includes(lastLine);
  });
  return { process: child, directory: workplace.directory, output: () => output, status };
}

test(
  'npm start says what to type next, wherever its output goes, and that works as it stands',
  limits,
  async (context) => {
    const { directory, output } = await start(context, 'npm', 'start');
    const commands = output().match(/^ {2}\S.*$/gm) ?? [];
    assert.equal(commands.length, 4, output());
    assert.match(commands.slice(2).join('\n'), /^ {2}redis-cli -s data\/wal\.sock WAL\.APPEND .*\n {2}redis-cli /);
    const [append = '', read = ''] = commands;
    assert.equal(await run('sh', ['-c', append], { directory }), '1\n');
    assert.match(await run('sh', ['-c', read], { directory }), /^1\t\S+\tINSERT\t\tfirst entry\n$/);
    assert.ok(existsSync(`${directory}/data/d4`));
  },
);

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(
    `npm start: ${signal} to npm alone ends all of it in good order, with exit status 0`,
    limits,
    async (context) => {
      const started = await start(context, 'npm', 'start');
      started.process.kill(signal);
      assert.equal(await started.status, 0, started.output());
      assert.match(started.output(), /"ending"/);
      assert.ok(!existsSync(`${started.directory}/data/wal.sock`));
    },
  );
}

testNeeding(
  [terminal],
  'npm start: Ctrl-C under a terminal ends it in good order, with exit status 0',
  limits,
  async (context) => {
    // The terminal sends SIGINT to npm and to the sidecar, and npm passes it on: the sidecar gets two. `script` has $SHELL run
    // its command, and where that is dash, it would stay beside npm, get the SIGINT as well and die of it: hence `exec`.
    const started = await start(context, 'script', '-qefc', 'exec npm start', '/dev/null');
    started.process.stdin?.write('\x03');
    assert.equal(await started.status, 0, started.output());
    assert.match(started.output(), /ending/);
    assert.ok(!existsSync(`${started.directory}/data/wal.sock`));
  },
);
