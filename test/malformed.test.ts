/**
 * What a client can send that is wrong: each gets its clear error, and nothing else is disturbed: another connection
 * appends all the while, and what it was told is what is there in the end.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { type RespClient, readAll } from './resp-client.ts';
import { RunningSidecar, until, Workplace } from './running-sidecar.ts';

let workplace: Workplace;
let sidecar: RunningSidecar;
let bystander: Bystander;
before(async () => {
  workplace = await Workplace.make();
  sidecar = await RunningSidecar.start({ workplace, configuration: workplace.configuration(['d1']) });
  bystander = new Bystander(await sidecar.connect());
});
after(async () => {
  await sidecar.stop();
  await workplace.end();
});

/** Appends one entry after the other on a connection of its own. */
class Bystander {
  readonly #client: RespClient;
  readonly #appending: Promise<void>;
  #stopped = false;
  acknowledged = 0;

  constructor(client: RespClient) {
    this.#client = client;
    this.#appending = this.#append();
  }

  async #append(): Promise<void> {
    while (!this.#stopped) {
      const next = this.acknowledged + 1;
      const reply = await this.#client.send('WAL.APPEND', 'bystander', next, 'INSERT', `k${next}`, `payload ${next}`);
      assert.equal(reply, next);
      this.acknowledged = next;
    }
  }

  /** It gets replies. */
  async goesOn(): Promise<void> {
    const known = this.acknowledged;
    await Promise.race([until('another append is acknowledged', () => this.acknowledged > known + 1), this.#appending]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#appending;
  }
}

/** A connection of bytes. */
class Bytes {
  readonly socket: Socket;
  text = '';
  ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1').on('data', (piece: string) => {
      this.text += piece;
    });
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.ended = true;
      });
    }
  }

  static async connect(): Promise<Bytes> {
    const socket = connect({ path: sidecar.socketPath, allowHalfOpen: true });
    await once(socket, 'connect');
    return new Bytes(socket);
  }
}

const request = (...args: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat([
    Buffer.from(`*${args.length}\r\n`),
    ...args.flatMap((argument) => {
      const bytes = Buffer.from(argument);
      return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')];
    }),
  ]);

interface Row {
  readonly what: string;
  readonly bytes: Buffer | string;
  readonly error: RegExp;
}

/** After these nobody knows where the next request begins: the connection ends. */
const unfollowable: readonly Row[] = [
  { what: 'a 1 GiB length', bytes: '*1\r\n$1073741824\r\n', error: /^-TOOLARGE .*1073741824 bytes/ },
  {
    what: 'a 1 GiB payload',
    bytes: '*6\r\n$10\r\nWAL.APPEND\r\n$1\r\nc\r\n$1\r\n*\r\n$6\r\nINSERT\r\n$1\r\nk\r\n$1073741824\r\nxxx',
    error: /^-TOOLARGE .*1073741824 bytes/,
  },
  { what: 'a billion arguments', bytes: '*1000000000\r\n', error: /^-TOOLARGE .*1000000000 arguments/ },
  { what: 'a length that is no number', bytes: '*1\r\n$x\r\nPING\r\n', error: /^-ERR Protocol error/ },
  { what: 'a negative length', bytes: '*1\r\n$-5\r\nPING\r\n', error: /^-ERR Protocol error/ },
  { what: 'a number of 30 digits', bytes: `*${'9'.repeat(30)}\r\n`, error: /^-ERR Protocol error/ },
  {
    what: 'an integer in place of an argument',
    bytes: '*1\r\n:1\r\n',
    error: /^-ERR Protocol error: expected '\$', got ':'/,
  },
  { what: 'an argument longer than its length', bytes: '*1\r\n$2\r\nPING\r\n', error: /^-ERR Protocol error/ },
  { what: 'an open quote', bytes: 'ECHO "x\r\n', error: /^-ERR Protocol error/ },
  { what: 'a line without end', bytes: 'x'.repeat(100_000), error: /^-ERR Protocol error/ },
];
for (const { what, bytes, error } of unfollowable) {
  test(`${what}: an error, the end of that connection, and no harm to others`, async () => {
    const client = await Bytes.connect();
    client.socket.write(bytes);
    await until(`the error about ${what}`, () => client.text.endsWith('\r\n') || client.ended);
    assert.match(client.text, error);
    assert.equal(client.text.split('\r\n').length, 2);
    client.socket.end();
    await until('the end', () => client.ended);
    client.socket.destroy();
    await bystander.goesOn();
  });
}

const longName = 'n'.repeat(600);
/** After these the connection goes on. */
const refused: readonly Row[] = [
  { what: 'a line of noise', bytes: Buffer.from('160301fffe80010d0a', 'hex'), error: /^-ERR unknown command '\\x16/ },
  { what: 'an unknown command', bytes: request('WAL.NOPE', 'x'), error: /^-ERR unknown command 'WAL.NOPE'/ },
  { what: 'a command of line ends', bytes: request('a\r\nb'), error: /^-ERR unknown command 'a\\x0d\\x0ab'/ },
  {
    what: 'a command of Redis that is none here',
    bytes: request('SET', 'a', 'b'),
    error: /^-ERR unknown command 'SET'/,
  },
  { what: 'too few arguments', bytes: request('WAL.READ'), error: /^-ERR wrong number of arguments for 'WAL.READ'/ },
  { what: 'half an entry', bytes: request('WAL.APPEND', 'c', '*', 'INSERT', 'k'), error: /^-ERR wrong number/ },
  { what: 'a name with NUL', bytes: request('WAL.STAT', 'a\0b'), error: /^-INVALID .*NUL/ },
  {
    what: 'an append to a name with NUL',
    bytes: request('WAL.APPEND', 'a\0b', '*', 'I', 'k', 'v'),
    error: /^-INVALID .*NUL/,
  },
  {
    what: 'a name of 600 bytes',
    bytes: request('WAL.ASSIGN', 'wal', longName),
    error: /^-INVALID .*600 bytes; at most 512/,
  },
  { what: 'an empty name', bytes: request('WAL.APPEND', '', '*', 'I', 'k', 'v'), error: /^-INVALID .*empty/ },
  { what: 'a name that is no UTF-8', bytes: request('WAL.STAT', Buffer.from([0xff])), error: /^-INVALID .*UTF-8/ },
  { what: 'a name that is not there', bytes: request('WAL.READ', '../../etc/passwd', '1'), error: /^-NOTFOUND / },
  { what: 'a component that is none', bytes: request('WAL.ASSIGN', '../x', 'c'), error: /^-INVALID component/ },
  {
    what: 'an operation with a space',
    bytes: request('WAL.APPEND', 'c', '*', 'A B', 'k', 'v'),
    error: /^-INVALID operation/,
  },
  {
    what: 'a key of 5000 bytes',
    bytes: request('WAL.APPEND', 'c', '*', 'I', 'k'.repeat(5000), ''),
    error: /^-INVALID key/,
  },
  { what: 'a sequence that is none', bytes: request('WAL.READ', 'bystander', 'x'), error: /^-ERR from-seq 'x'/ },
  {
    what: 'a count over the maximum',
    bytes: request('WAL.READ', 'bystander', '1', 'COUNT', '100001'),
    error: /^-INVALID COUNT/,
  },
  {
    what: 'a batch over 64 MiB',
    bytes: request('WAL.APPEND', 'c', '*', 'I', '', Buffer.alloc(64 * 1024 * 1024)),
    error: /^-TOOLARGE a batch of 67108865 bytes/,
  },
];
for (const { what, bytes, error } of refused) {
  test(`${what}: an error, the connection goes on, and no harm to others`, async () => {
    const client = await Bytes.connect();
    client.socket.write(Buffer.concat([Buffer.from(bytes), request('PING')]));
    await until(`the error about ${what}`, () => client.text.endsWith('+PONG\r\n') || client.ended);
    assert.match(client.text, error);
    assert.equal(client.text.split('\r\n').length, 3);
    client.socket.destroy();
    await bystander.goesOn();
  });
}

test('names of dots and slashes are names like others, and stay inside the directory of their URL', async () => {
  const outside = await readdir(workplace.directory);
  const client = await sidecar.connect();
  const names = ['../../escaped', '..', '.', '/etc/passwd', '../d1/_journal', 'a/../../b', '_journal', 'n'.repeat(512)];
  for (const name of names) {
    assert.equal(await client.send('WAL.APPEND', name, '*', 'INSERT', 'k', name), 1, name);
    assert.deepEqual(
      (await readAll(client, name)).map(({ payload }) => payload.toString()),
      [name],
    );
    assert.equal(await client.send('WAL.FLUSH', name), 1);
  }
  assert.deepEqual(await readdir(workplace.directory), outside);
  const directories = (await readdir(workplace.path('d1'))).filter((name) => !name.startsWith('_'));
  assert.equal(directories.length, names.length + 1);
  for (const name of names) assert.equal(await client.send('WAL.DROP', name), 1, name);
  await bystander.goesOn();
});

test('a client that goes away in the middle of a request leaves nothing behind', async () => {
  for (const cut of [1, 30, 200_000]) {
    const client = await Bytes.connect();
    const bytes = request('WAL.APPEND', 'half', '*', 'INSERT', 'k', Buffer.alloc(300_000));
    await new Promise((resolve) => {
      client.socket.write(bytes.subarray(0, cut), resolve);
    });
    client.socket.destroy();
  }
  const client = await sidecar.connect();
  await assert.rejects(client.send('WAL.STAT', 'half'), /^ErrorReply: NOTFOUND/);
  await bystander.goesOn();
});

test('in the end every entry that the bystander was told of is there', async () => {
  await bystander.stop();
  const client = await sidecar.connect();
  const entries = await readAll(client, 'bystander');
  assert.equal(entries.length, bystander.acknowledged);
  assert.ok(entries.every(({ sequence, payload }) => payload.toString() === `payload ${sequence}`));
  assert.deepEqual(
    sidecar.log.filter(({ level }) => level >= 50).map(({ msg }) => msg),
    [],
  );
});
