/** What only the real disk shows: locks between processes, a full disk, threads, the order of system calls. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { systemCode } from '../errors.ts';
import { DiskFileSystem } from './disk.ts';
import { type FileStorage, openFileStorage } from './file.ts';

async function temporaryDirectory(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-disk-'));
  context.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function opened(context: TestContext, directory: string): Promise<FileStorage> {
  const storage = openFileStorage(`file://${directory}`, directory, new DiskFileSystem());
  context.after(() => storage.close());
  await storage.lock('test', 0);
  return storage;
}

/** A program that has `storage` of the directory in its first argument. */
function program(body: string): string {
  return `
    import { DiskFileSystem } from '${import.meta.resolve('./disk.ts')}';
    import { openFileStorage } from '${import.meta.resolve('./file.ts')}';
    const directory = process.argv[1];
    const storage = openFileStorage('file://' + directory, directory, new DiskFileSystem());
    ${body}`;
}

function nodeArguments(body: string, directory: string): string[] {
  return ['--input-type=module', '--eval', program(body), directory];
}

const holdLock = `
  await storage.lock('holder', 0);
  console.log('locked');
  process.stdin.resume();`;
const tryLock = `
  await storage.lock('intruder', 0).then(() => console.log('locked'), (error) => console.log(error.message));
  await storage.close();`;

/** Waits for the first line that a child prints. */
async function firstLine(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout);
  const [line]: unknown[] = await once(createInterface(child.stdout), 'line');
  return String(line);
}

const withoutProc = process.platform === 'linux' ? false : 'needs /proc: run it on Linux';

/** Why a test that needs root on Linux cannot run, or false. */
function withoutRoot(...commands: string[]): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux: run it with sudo';
  const missing = commands.find((command) => spawnSync(command, ['--version']).status !== 0);
  return missing ? `needs ${missing}: apt-get install util-linux mount` : false;
}

test('E28: a lock is seen by other processes, and the kernel releases it when its holder is killed', async (context) => {
  const directory = await temporaryDirectory(context);
  const holder = spawn(process.execPath, nodeArguments(holdLock, directory), { stdio: ['pipe', 'pipe', 'inherit'] });
  context.after(() => holder.kill('SIGKILL'));
  assert.equal(await firstLine(holder), 'locked');
  const storage = openFileStorage('file:///x', directory, new DiskFileSystem());
  context.after(() => storage.close());
  await assert.rejects(storage.lock('test', 100), new RegExp(`is locked by holder, pid ${holder.pid} on host`));
  holder.kill('SIGKILL');
  await storage.lock('test', 10_000);
});

test('E28: a lock is seen from another pid namespace', { skip: withoutRoot('unshare') }, async (context) => {
  const directory = await temporaryDirectory(context);
  await opened(context, directory);
  const unshare = ['--pid', '--fork', process.execPath, ...nodeArguments(tryLock, directory)];
  const answer = execFileSync('unshare', unshare, { encoding: 'utf8' });
  assert.match(answer, new RegExp(`/_lock is locked by test, pid ${process.pid} on host`));
});

test('a full disk: what fitted is counted, the cut makes room, and the log goes on', {
  skip: withoutRoot('mount'),
}, async (context) => {
  const directory = await temporaryDirectory(context);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1M', 'tmpfs', directory]);
  try {
    const storage = openFileStorage('file:///x', `${directory}/wal`, new DiskFileSystem());
    await storage.lock('test', 0);
    await storage.publish('ballast', [Buffer.alloc(256 * 1024)]);
    const log = await storage.createLog('log', Buffer.from('header'));
    await log.append([Buffer.alloc(500_000, 'a')], true);
    await assert.rejects(log.append([Buffer.alloc(500_000, 'b')], true), /^Error: ENOSPC: no space .*\/wal\/log'$/);
    assert.ok(log.writtenBytes > 500_006 && log.writtenBytes < 1_000_006, 'a part of the write was taken');
    await assert.rejects(storage.publish('f', [Buffer.alloc(100_000)]), (error) => systemCode(error) === 'ENOSPC');
    await log.cut(500_006);
    await storage.remove('', ['ballast']);
    await log.append([Buffer.alloc(300_000, 'c')], true);
    const content = await storage.read('log');
    assert.equal(content.toString(), `header${'a'.repeat(500_000)}${'c'.repeat(300_000)}`);
    assert.deepEqual(
      (await storage.list('')).map((entry) => entry.name),
      ['_lock', 'log'],
    );
    await storage.close();
  } finally {
    execFileSync('umount', ['--lazy', directory]);
  }
});

test('E2: calls that a stalled URL has under way leave room for those of another', async (context) => {
  const [stalled, healthy] = await Promise.all([temporaryDirectory(context), temporaryDirectory(context)]);
  const [one, other] = await Promise.all([opened(context, stalled), opened(context, healthy)]);
  // To open a pipe for reading takes until someone opens it for writing: libuv has four threads.
  const pipes = ['1', '2', '3', '4', '5'];
  execFileSync(
    'mkfifo',
    pipes.map((name) => join(stalled, name)),
  );
  const waiting = pipes.map((name) => one.openReader(name));
  await other.publish('f', [Buffer.from('x')]);
  assert.equal((await other.read('f')).toString(), 'x');
  const writers = pipes.map((name) => openSync(join(stalled, name), constants.O_RDWR));
  for (const reader of await Promise.all(waiting)) await reader.close();
  for (const writer of writers) closeSync(writer);
});

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((number) => {
    try {
      return readlinkSync(`/proc/self/fd/${number}`);
    } catch {
      return []; // It was the listing's own.
    }
  });
}

function threads(): number {
  return readdirSync('/proc/self/task').length;
}

test('closing a storage ends its thread and closes its files, and appends then fail', {
  skip: withoutProc,
}, async (context) => {
  const directory = await temporaryDirectory(context);
  const storage = await opened(context, directory);
  const threadsBefore = threads();
  const log = await storage.createLog('log', Buffer.from('header'));
  await storage.createLog('log2', Buffer.from('header'));
  assert.ok(threads() > threadsBefore);
  const under = log.append([Buffer.from('x')], true).catch(() => 'failed');
  await storage.close();
  await under;
  assert.equal(threads(), threadsBefore);
  assert.deepEqual(
    openFiles().filter((path) => path.startsWith(directory)),
    [],
  );
  await assert.rejects(log.append([Buffer.from('y')], true));
  await log.close();
});

test('an idle log thread does not keep the process alive, one with work does', async (context) => {
  const directory = await temporaryDirectory(context);
  const body = `
    await storage.lock('test', 0);
    const log = await storage.createLog('log', Buffer.from('header'));
    void log.append([Buffer.from(' done')], true).then(() => console.log('appended'));`;
  const answer = execFileSync(process.execPath, nodeArguments(body, directory), { encoding: 'utf8', timeout: 30_000 });
  assert.equal(answer, 'appended\n');
  assert.equal(readFileSync(join(directory, 'log'), 'utf8'), 'header done');
});

const traced = spawnSync('strace', ['--version']).status === 0 ? false : 'needs strace: apt-get install strace';

test('R1: no rename before the sync of its file, no reply before that of the directory', {
  skip: traced,
}, async (context) => {
  const directory = await temporaryDirectory(context);
  const trace = join(directory, 'trace');
  const body = `
    await storage.lock('test', 0);
    await storage.createDirectory('a');
    await storage.publish('a/f', [Buffer.from('x'), Buffer.from('y')]);
    const log = await storage.createLog('a/log', Buffer.from('header'));
    await log.append([Buffer.from('durable')], true);
    await log.append([Buffer.from('plain')], false);
    await log.sync();
    await log.cut(6);
    await storage.remove('a', ['f', 'log']);
    await storage.removeDirectory('a');
    await storage.close();`;
  const calls = 'trace=mkdir,openat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,rename,unlink,rmdir';
  const node = [process.execPath, ...nodeArguments(body, `${directory}/wal`)];
  execFileSync('strace', ['-f', '-y', '-o', trace, '-e', calls, ...node]);
  const lines = readFileSync(trace, 'utf8').split('\n');
  const steps = lines.flatMap((line) => {
    const [, call, path] = /^\d+ +(\w+)\(.*\/(wal[^>"]*)[>"]/.exec(line) ?? [];
    return call && path && (call !== 'openat' || line.includes('O_DSYNC')) ? `${call} ${path}` : [];
  });
  assert.deepEqual(steps.slice(steps.indexOf('mkdir wal/a')), [
    'mkdir wal/a',
    'fsync wal',
    'writev wal/a/_tmp-1',
    'fdatasync wal/a/_tmp-1',
    'rename wal/a/f',
    'fsync wal/a',
    'openat wal/a/_tmp-2',
    'pwrite64 wal/a/_tmp-2',
    'rename wal/a/log',
    'fsync wal/a',
    'pwrite64 wal/a/log',
    'pwrite64 wal/a/log',
    'fdatasync wal/a/log',
    'ftruncate wal/a/log',
    'fdatasync wal/a/log',
    'unlink wal/a/f',
    'unlink wal/a/log',
    'fsync wal/a',
    'rmdir wal/a',
    'fsync wal',
  ]);
});

test('a lock file with foreign content is taken over', async (context) => {
  const directory = await temporaryDirectory(context);
  await writeFile(join(directory, '_lock'), 'left behind by a holder with a much longer text than ours '.repeat(10));
  await opened(context, directory);
  assert.match(readFileSync(join(directory, '_lock'), 'utf8'), /^test, pid \d+ on host \S+, since \S+\n$/);
});

test('links are what they lead to; one that leads to nothing is neither file nor directory (R6)', async (context) => {
  const directory = await temporaryDirectory(context);
  const elsewhere = await temporaryDirectory(context);
  const storage = await opened(context, directory);
  await mkdir(join(elsewhere, 'moved'));
  await writeFile(join(elsewhere, 'file'), 'x');
  for (const [name, target] of Object.entries({ a: 'moved', b: 'file', c: 'nothing' })) {
    await symlink(join(elsewhere, target), join(directory, name));
  }
  const kinds = new Map((await storage.list('')).map(({ name, kind }) => [name, kind]));
  assert.deepEqual([kinds.get('a'), kinds.get('b'), kinds.get('c')], ['directory', 'file', 'other']);
  await storage.createDirectory('a');
  await assert.rejects(storage.createDirectory('c'), (error) => systemCode(error) === 'ENOTDIR');
});
