/** Every Redis client is a client: redis-cli, node-redis and redis-py connect with default options and run every command. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createClient, ErrorReply, RESP_TYPES } from 'redis';
import { converse, type Value } from './client-conversation.ts';
import { run } from './cluster/child.ts';
import { program, pythonPackage, testNeeding } from './requirement.ts';
import { RunningSidecar, Workplace } from './running-sidecar.ts';

const testLimitMs = 120_000;
const redisTools = program('redis-cli', ['--version'], 'redis-tools');
const redisPy = pythonPackage('redis', '8.1.0');
const redisPyFile = fileURLToPath(new URL('redis_py_client.py', import.meta.url));

let workplace: Workplace;
let sidecar: RunningSidecar;
before(async () => {
  workplace = await Workplace.make();
  const wal = workplace.configuration(['d1', 'd2']);
  const viper = `[storage.viper_config]\ndata_urls = ["file://${workplace.path('v1')}"]\n`;
  sidecar = await RunningSidecar.start({ workplace, configuration: `${wal}${viper}` });
});
after(async () => {
  await sidecar.stop();
  await workplace.end();
});

/** A reply of node-redis, whose bulk strings come as Buffers. */
function plain(reply: unknown): Value {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1');
  if (Array.isArray(reply)) return reply.map(plain);
  if (typeof reply === 'string' || typeof reply === 'number' || reply === null) return reply;
  if (typeof reply === 'object')
    return Object.fromEntries(Object.entries(reply).map(([key, value]) => [key, plain(value)]));
  throw new Error(`unexpected reply ${typeof reply}`);
}

for (const [label, options, protocol] of [
  ['with default options', {}, 'default'],
  ['RESP2', { RESP: 2 }, 2],
  ['RESP3', { RESP: 3 }, 3],
] as const) {
  test(`node-redis ${label} runs every WAL.* command`, { timeout: testLimitMs }, async () => {
    const connected = createClient({ socket: { path: sidecar.socketPath, tls: false }, ...options });
    const errors: unknown[] = [];
    connected.on('error', (error) => errors.push(error));
    await connected.connect();
    const client = connected.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    const send = async (...request: readonly string[]): Promise<Value> => {
      try {
        return plain(await client.sendCommand(request.map((argument) => Buffer.from(argument, 'latin1'))));
      } catch (error) {
        if (error instanceof ErrorReply) return { error: error.message };
        throw error;
      }
    };
    assert.equal(await connected.ping(), 'PONG');
    const hello = await send('HELLO');
    const spoken = Array.isArray(hello) ? 2 : 3;
    if (protocol !== 'default') assert.equal(spoken, protocol);
    await converse({ send, protocol: spoken }, `node-redis ${label}`);
    await connected.close();
    assert.deepEqual(errors, []);
  });
}

for (const [label, argument] of [
  ['with default options', []],
  ['RESP2', ['2']],
  ['RESP3', ['3']],
] as const) {
  testNeeding([redisPy], `redis-py ${label} runs every WAL.* command`, { timeout: testLimitMs }, async () => {
    const child = spawn('python3', [redisPyFile, sidecar.socketPath, ...argument], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, PYTHONPATH: await redisPy.path() },
    });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const send = async (...request: readonly string[]): Promise<Value> => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const line = await lines.next();
      if (line.done === true) throw new Error(`redis-py ended at ${request[0]}`);
      return JSON.parse(line.value);
    };
    const ended = once(child, 'exit');
    try {
      const spoken = Array.isArray(await send('HELLO')) ? 2 : 3;
      if (argument[0] !== undefined) assert.equal(spoken, Number(argument[0]));
      await converse({ send, protocol: spoken }, `redis-py ${label}`);
    } finally {
      child.stdin.end();
    }
    assert.deepEqual(await ended, [0, null]);
  });
}

async function cli(...args: readonly string[]): Promise<string> {
  return run('redis-cli', ['-s', sidecar.socketPath, ...args]);
}

/** A reply that `redis-cli --quoted-json` prints: JSON whose strings show bytes as `\xHH`, `\r`, `\n` and the like. */
function parseQuotedJson(text: string): Value {
  if (text.startsWith('error:')) return { error: unquote(text.slice('error:"'.length, -1)) };
  // Quotes inside of strings are not escaped as JSON wants it: where a string is all there is, its end is known.
  if (text.startsWith('"')) return unquote(text.slice(1, -1).replaceAll('\\\\', '\\'));
  return JSON.parse(text, (_, value: unknown) => (typeof value === 'string' ? unquote(value) : value));
}

const escapes: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', a: '\x07', b: '\b' };

function unquote(text: string): string {
  return text.replaceAll(/\\(x[0-9a-f]{2}|.)/g, (_, escape: string) =>
    escape.length === 3 ? String.fromCharCode(Number.parseInt(escape.slice(1), 16)) : (escapes[escape] ?? escape),
  );
}

/** An argument for `redis-cli --quoted-input`. */
function quoted(argument: string): string {
  const bytes = Array.from(Buffer.from(argument, 'latin1'), (byte) => `\\x${byte.toString(16).padStart(2, '0')}`);
  return `"${bytes.join('')}"`;
}

testNeeding([redisTools], 'redis-cli runs every WAL.* command in RESP3', { timeout: testLimitMs }, async () => {
  // oxlint-disable-next-line unicorn/consistent-function-scoping -- it stands beside those of the other clients
  const send = async (...request: readonly string[]): Promise<Value> =>
    parseQuotedJson((await cli('--quoted-input', '--quoted-json', ...request.map(quoted))).trimEnd());
  await converse({ send, protocol: 3 }, 'redis-cli');
});

testNeeding([redisTools], 'redis-cli with default options', { timeout: testLimitMs }, async () => {
  assert.equal(await cli('PING'), 'PONG\n');
  assert.equal(await cli('WAL.APPEND', 'cli', '*', 'INSERT', 'k', 'v'), '1\n');
  assert.match(await cli('WAL.READ', 'cli', '1'), /^1\n\d{16}\nINSERT\nk\nv\n$/);
  assert.match(await cli('WAL.STAT', 'cli'), /^collection\ncli\nurl\nfile:\/\//);
  assert.match(await cli('COMMAND', 'DOCS', 'WAL.READ'), /summary\n/);
  assert.match(await cli('INFO'), /redis_version:/);
  assert.equal(await cli('-n', '0', 'WAL.DROP', 'cli'), '1\n');
});

testNeeding([redisTools], 'redis-benchmark appends without a warning', { timeout: testLimitMs }, async () => {
  const load = ['-n', '2000', '-c', '20', '-P', '16', '-r', '10', '-q'];
  const append = ['WAL.APPEND', 'bench__rand_int__', '*', 'INSERT', 'k', 'payload'];
  const report = await run('redis-benchmark', ['-s', sidecar.socketPath, ...load, ...append]);
  assert.match(report, /requests per second/);
  assert.doesNotMatch(report, /WARN|rror/);
  const client = await sidecar.connect();
  const names = await client.send('WAL.LIST', '0', 'COUNT', '10000');
  const benchNames = Array.isArray(names) && Array.isArray(names[1]) ? names[1].map(String) : [];
  let entries = 0;
  for (const name of benchNames.filter((candidate) => candidate.startsWith('bench'))) {
    entries += Number(await client.send('WAL.DROP', name));
  }
  assert.equal(entries, 2000);
});
