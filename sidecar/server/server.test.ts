import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { MapAssignments, MapWal, RawClient, startTestServer, until } from './server.fixture.ts';
import { createServer } from './server.ts';

const serverAt = (socketPath: string): ReturnType<typeof createServer> =>
  createServer({
    wal: new MapWal(),
    assignments: new MapAssignments(),
    socketPath,
    logger: pino({ level: 'silent' }),
    version: '0',
  });

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-socket-'));
  try {
    await run(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('the socket has mode 0666 in a directory that is made, and is gone after close', () =>
  inDirectory(async (directory) => {
    const path = join(directory, 'run', 'wal.sock');
    const server = await serverAt(path);
    assert.equal((await stat(path)).mode & 0o7777, 0o666);
    await server.close();
    assert.equal(existsSync(path), false);
  }));

test('a path where something listens is an error, and who listens there goes on', () =>
  inDirectory(async (directory) => {
    const path = join(directory, 'wal.sock');
    const server = await serverAt(path);
    await assert.rejects(serverAt(path), /something listens on socket path .*wal.sock already/);
    const client = await RawClient.connect(path);
    client.send(['PING']);
    await client.expect('+PONG\r\n');
    client.destroy();
    await server.close();
  }));

test('a path that is no socket is an error and stays as it is', () =>
  inDirectory(async (directory) => {
    const path = join(directory, 'wal.sock');
    await writeFile(path, 'precious');
    await assert.rejects(serverAt(path), /exists and is no socket: it was left alone/);
    assert.equal(await readFile(path, 'utf8'), 'precious');
    await assert.rejects(serverAt(join(path, 'wal.sock')), /the directory .*wal.sock of socket path .* cannot be made/);
  }));

test('a socket that nobody answers, as kill -9 leaves it, is replaced', () =>
  inDirectory(async (directory) => {
    const path = join(directory, 'wal.sock');
    const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    const child = spawn(process.execPath, ['-e', script, path]);
    await once(child, 'exit');
    assert.ok((await stat(path)).isSocket());
    const server = await serverAt(path);
    const client = await RawClient.connect(path);
    client.send(['PING']);
    await client.expect('+PONG\r\n');
    client.destroy();
    await server.close();
  }));

test('a path longer than the system allows is an error that says so', () =>
  inDirectory(async (directory) => {
    const longest = join(directory, 'x'.repeat(107 - directory.length - 1));
    const server = await serverAt(longest);
    await server.close();
    await assert.rejects(serverAt(`${longest}x`), /has 108 bytes; the system allows 107/);
  }));

test('one connection more than allowed gets BUSY; a place that becomes free is given again (R5)', async () => {
  const { server, connect, end } = await startTestServer({ connections: 2 });
  try {
    const [first] = [await connect(), await connect()];
    const third = await connect();
    await until(() => third.ended, 'the end');
    assert.match(third.text, /^-BUSY there are 2 connections already/);
    assert.equal(server.counters.connectionsRejected, 1);
    first.destroy();
    await until(() => server.connectionCount === 1, 'a free place');
    const fourth = await connect();
    fourth.send(['PING']);
    await fourth.expect('+PONG\r\n');
  } finally {
    await end();
  }
});

test('close answers what was received, refuses what comes, ends waiting reads (E24)', async () => {
  const { server, wal, socketPath, connect, end } = await startTestServer();
  try {
    const [writer, reader, idle] = [await connect(), await connect(), await connect()];
    reader.send(['WAL.APPEND', 'c', '*', 'INSERT', 'k', 'v']);
    await reader.expect(':1\r\n');
    reader.send(['WAL.READ', 'c', '9', 'BLOCK', '0'], ['PING']);
    await until(() => wal.waiterCount === 1, 'the read waiting');
    wal.held = [];
    writer.send(['WAL.APPEND', 'c', '*', 'INSERT', 'k', 'v'], ['PING'], ['WAL.READ', 'c', '2'], ['PING', 'end']);
    await until(() => wal.held?.length === 1, 'the append in flight');
    let closed = false;
    const closing = server.close().then(() => {
      closed = true;
      return closed;
    });
    await until(() => idle.ended, 'the end of the idle connection');
    await assert.rejects(RawClient.connect(socketPath));
    await until(() => reader.ended, 'the end of the waiting read');
    assert.match(reader.text, /^-UNAVAILABLE the sidecar is shutting down[^\r\n]*\r\n\+PONG\r\n$/);
    assert.equal(closed, false);
    wal.held[0]?.();
    await until(() => writer.ended, 'the end of the writer');
    assert.match(writer.text, /^:2\r\n\+PONG\r\n\*1\r\n\*5\r\n:2\r\n.*\$3\r\nend\r\n$/s);
    for (const client of [writer, reader, idle]) client.destroy();
    await closing;
  } finally {
    await end();
  }
});

test('a client that does not go is cut off shortly after its last reply when the server closes', async () => {
  const { server, connect, end } = await startTestServer({ lingerMs: 20 });
  try {
    const client = await connect();
    client.send(['PING']);
    await client.expect('+PONG\r\n');
    await server.close();
    await until(() => server.connectionCount === 0, 'no connection');
  } finally {
    await end();
  }
});

test('callbacks of one commit are answered with one write a connection', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.send(...Array.from({ length: 100 }, () => ['WAL.APPEND', 'c', '*', 'INSERT', 'k', 'v']));
    await until(() => wal.held?.length === 100, 'appends in flight');
    let chunks = 0;
    client.socket.on('data', () => {
      chunks += 1;
    });
    for (const answer of wal.held) answer();
    await client.expect(Array.from({ length: 100 }, (_, index) => `:${index + 1}\r\n`).join(''));
    assert.equal(chunks, 1);
  } finally {
    await end();
  }
});
