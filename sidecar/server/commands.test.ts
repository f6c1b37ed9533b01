import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type RawClient, startTestServer, type TestServer } from './server.fixture.ts';

let running: TestServer;
let client: RawClient;
before(async () => {
  running = await startTestServer();
  client = await running.connect();
});
after(() => running.end());

const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${Buffer.from(text).toString('latin1')}\r\n`;
const nul = '\0';

/** Requests in order on one connection, each with its whole reply or a pattern of it. */
const conversation: readonly (readonly [string, readonly (string | Buffer)[], string | RegExp])[] = [
  ['an append creates its collection', ['WAL.APPEND', 'c', '*', 'INSERT', 'k', 'v'], ':1\r\n'],
  [
    'names are case-insensitive',
    ['wal.Append', 'c', '2', 'UPDATE', '', '', 'my_OP_9', 'é', Buffer.from([0, 255])],
    ':3\r\n',
  ],
  ['a wrong next-seq', ['WAL.APPEND', 'c', '9', 'INSERT', 'k', 'v'], '-CONFLICT 4\r\n'],
  [
    'read',
    ['WAL.READ', 'c', '0'],
    `*3\r\n*5\r\n:1\r\n:1000000\r\n${bulk('INSERT')}${bulk('k')}${bulk('v')}` +
      `*5\r\n:2\r\n:1000000\r\n${bulk('UPDATE')}${bulk('')}${bulk('')}` +
      `*5\r\n:3\r\n:1000000\r\n${bulk('my_OP_9')}${bulk('é')}$2\r\n\0\xff\r\n`,
  ],
  ['read COUNT', ['WAL.READ', 'c', '2', 'count', '1', 'BYTES', '1'], /^\*1\r\n\*5\r\n:2\r\n/],
  ['read at the next sequence', ['WAL.READ', 'c', '4'], '*0\r\n'],
  ['read BLOCK of what is there', ['WAL.READ', 'c', '3', 'BLOCK', '0'], /^\*1\r\n\*5\r\n:3\r\n/],
  ['read BLOCK timed out', ['WAL.READ', 'c', '4', 'BLOCK', '1'], '*-1\r\n'],
  ['read of nothing', ['WAL.READ', 'none', '1'], /^-NOTFOUND /],
  ['read BLOCK of nothing', ['WAL.READ', 'none', '1', 'BLOCK', '5'], /^-NOTFOUND /],
  ['read COUNT 0', ['WAL.READ', 'c', '1', 'COUNT', '0'], /^-INVALID COUNT 0: must be from 1 to 100000\r\n$/],
  ['read COUNT too large', ['WAL.READ', 'c', '1', 'COUNT', '100001'], /^-INVALID /],
  ['read BYTES too large', ['WAL.READ', 'c', '1', 'BYTES', '268435457'], /^-INVALID /],
  ['read at the maxima', ['WAL.READ', 'c', '4', 'COUNT', '100000', 'BYTES', '268435456'], '*0\r\n'],
  ['read COUNT twice', ['WAL.READ', 'c', '1', 'COUNT', '1', 'COUNT', '1'], /^-ERR syntax error at 'COUNT'/],
  ['read COUNT without a number', ['WAL.READ', 'c', '1', 'COUNT'], /^-ERR syntax error/],
  ['read with an unknown option', ['WAL.READ', 'c', '1', 'LIMIT', '1'], /^-ERR syntax error at 'LIMIT'/],
  ['read from a negative sequence', ['WAL.READ', 'c', '-1'], /^-ERR from-seq '-1' is not a whole number/],
  ['read from a sequence over 2^53', ['WAL.READ', 'c', '9007199254740992'], /^-ERR from-seq/],
  ['export', ['WAL.EXPORT', 'c', '3', 'BYTES', '10'], '$6\r\nObj\x01\0\xff\r\n'],
  ['export COUNT', ['WAL.EXPORT', 'c', '3', 'COUNT', '10'], /^-ERR syntax error/],
  ['checkpoint', ['WAL.CHECKPOINT', 'c', '1'], ':2\r\n'],
  ['read below the checkpoint', ['WAL.READ', 'c', '1'], /^-TRIMMED /],
  ['checkpoint no number', ['WAL.CHECKPOINT', 'c', 'x'], /^-ERR seq 'x'/],
  ['flush one', ['WAL.FLUSH', 'c'], ':3\r\n'],
  ['flush all', ['WAL.FLUSH'], ':0\r\n'],
  ['compact', ['WAL.COMPACT'], ':0\r\n'],
  [
    'stat',
    ['WAL.STAT', 'c'],
    /^\*24\r\n\$10\r\ncollection\r\n\$1\r\nc\r\n\$3\r\nurl\r\n.*\$15\r\nfirst_sequence\r\n|^\*24\r\n/s,
  ],
  ['stat of nothing', ['WAL.STAT', 'none'], '-NOTFOUND there is no collection none\r\n'],
  ['list', ['WAL.LIST'], '*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n'],
  ['list with a cursor', ['WAL.LIST', '4294967295', 'COUNT', '5'], '*2\r\n$1\r\n0\r\n*0\r\n'],
  ['assign', ['WAL.ASSIGN', 'viper', 'c'], /^\*12\r\n\$9\r\ncomponent\r\n\$5\r\nviper\r\n/],
  [
    'assign of an unknown component',
    ['WAL.ASSIGN', 'ram', 'c'],
    /^-INVALID component 'ram': must be one of wal, viper/,
  ],
  ['assignment', ['WAL.ASSIGNMENT', 'VIPER', 'c'], /^\*12\r\n/],
  ['no assignment', ['WAL.ASSIGNMENT', 'viper', 'd'], '*-1\r\n'],
  ['assignments', ['WAL.ASSIGNMENTS', 'viper'], /^\*2\r\n\$1\r\n0\r\n\*1\r\n\*12\r\n/],
  ['assignments with all', ['WAL.ASSIGNMENTS', 'viper', '0', 'COUNT', '5'], /^\*2\r\n\$1\r\n0\r\n\*1\r\n\*12\r\n/],
  ['unassign', ['WAL.UNASSIGN', 'viper', 'c'], ':1\r\n'],
  ['unassign again', ['WAL.UNASSIGN', 'viper', 'c'], ':0\r\n'],
  ['forget', ['WAL.FORGET', 'file:///d1'], /^-ERR WAL.FORGET is not supported yet/],
  ['drop', ['WAL.DROP', 'c'], ':3\r\n'],
  ['drop again', ['WAL.DROP', 'c'], /^-NOTFOUND /],

  ['a name of dots and slashes is a name', ['WAL.APPEND', '../../x', '*', 'INSERT', 'k', 'v'], ':1\r\n'],
  ['a name of 512 bytes', ['WAL.APPEND', 'n'.repeat(512), '*', 'INSERT', 'k', 'v'], ':1\r\n'],
  [
    'a name of 513 bytes',
    ['WAL.APPEND', 'n'.repeat(513), '*', 'INSERT', 'k', 'v'],
    /^-INVALID .*513 bytes; at most 512/,
  ],
  ['no name', ['WAL.APPEND', '', '*', 'INSERT', 'k', 'v'], /^-INVALID the collection name is empty/],
  [
    'a name with NUL',
    ['WAL.APPEND', `a${nul}b`, '*', 'INSERT', 'k', 'v'],
    /^-INVALID collection 'a\\x00b': the name holds a NUL/,
  ],
  ['a name that is no UTF-8', ['WAL.STAT', Buffer.from([0xff])], /^-INVALID .*not UTF-8/],
  ['no operation', ['WAL.APPEND', 'c', '*', '', 'k', 'v'], /^-INVALID operation ''/],
  ['an operation of 33 bytes', ['WAL.APPEND', 'c', '*', 'o'.repeat(33), 'k', 'v'], /^-INVALID operation 'o/],
  ['an operation with a hyphen', ['WAL.APPEND', 'c', '*', 'a-b', 'k', 'v'], /^-INVALID operation 'a-b'/],
  ['a key of 4096 bytes', ['WAL.APPEND', 'k', '*', 'INSERT', 'k'.repeat(4096), 'v'], ':1\r\n'],
  ['a key of 4097 bytes', ['WAL.APPEND', 'k', '*', 'INSERT', 'k'.repeat(4097), 'v'], /^-INVALID key .*4097 bytes/],
  ['a key that is no UTF-8', ['WAL.APPEND', 'k', '*', 'INSERT', Buffer.from([0xc3]), 'v'], /^-INVALID key .*not UTF-8/],
  ['a next-seq that is no number', ['WAL.APPEND', 'k', '+2', 'INSERT', 'k', 'v'], /^-ERR next-seq '\+2'/],
  [
    'half an entry',
    ['WAL.APPEND', 'k', '*', 'INSERT', 'k', 'v', 'INSERT'],
    /^-ERR wrong number of arguments for 'WAL.APPEND'/,
  ],
  ['no entry', ['WAL.APPEND', 'k', '*'], /^-ERR wrong number of arguments for 'WAL.APPEND'/],
  ['a bad second entry leaves nothing', ['WAL.APPEND', 'k', '*', 'I', 'k', 'v', 'I!', 'k', 'v'], /^-INVALID/],
  ['so the next sequence is as before', ['WAL.APPEND', 'k', '2', 'INSERT', 'k', 'v'], ':2\r\n'],
  [
    'too few arguments',
    ['WAL.READ', 'c'],
    /^-ERR wrong number of arguments for 'WAL.READ': usage: WAL.READ collection from-seq/,
  ],
  ['too many arguments', ['WAL.DROP', 'c', 'd'], /^-ERR wrong number/],
  ['an unknown command', ['WAL.NOPE', 'c'], /^-ERR unknown command 'WAL.NOPE'/],
  [
    'an unknown command over lines',
    [`a\r\nb${'c'.repeat(100)}`],
    /^-ERR unknown command 'a\\x0d\\x0abc+\.\.\.'[^\r\n]*\r\n$/,
  ],
  ['an empty command', [''], /^-ERR unknown command ''/],

  ['ping', ['PING'], '+PONG\r\n'],
  ['ping with a message', ['ping', 'hi'], '$2\r\nhi\r\n'],
  ['select 0', ['SELECT', '0'], '+OK\r\n'],
  ['select 1', ['SELECT', '1'], /^-ERR DB index/],
  ['auth', ['AUTH', 'secret'], /^-NOAUTH (?!.*secret)/],
  ['hello in RESP2', ['HELLO'], /^\*14\r\n\$6\r\nserver\r\n\$10\r\nwalstorage\r\n.*\$5\r\nproto\r\n:2\r\n/s],
  ['hello of another version', ['HELLO', '4'], /^-NOPROTO /],
  ['hello with a password', ['HELLO', '3', 'AUTH', 'default', 'secret'], /^-NOAUTH /],
  ['that changed nothing', ['WAL.ASSIGNMENT', 'viper', 'd'], '*-1\r\n'],
  ['hello 3', ['HELLO', '3', 'SETNAME', 'me'], /^%7\r\n\$6\r\nserver\r\n.*\$5\r\nproto\r\n:3\r\n.*\*0\r\n$/s],
  ['nil in RESP3', ['WAL.ASSIGNMENT', 'viper', 'd'], '_\r\n'],
  ['a map in RESP3', ['WAL.STAT', 'k'], /^%12\r\n/],
  ['client getname', ['CLIENT', 'GETNAME'], '$2\r\nme\r\n'],
  ['client setname', ['CLIENT', 'SETNAME', 'you'], '+OK\r\n'],
  ['client setname with a space', ['CLIENT', 'SETNAME', 'a b'], /^-ERR name 'a b'/],
  ['client setinfo', ['CLIENT', 'SETINFO', 'lib-name', 'tests'], '+OK\r\n'],
  ['client id', ['CLIENT', 'ID'], ':1\r\n'],
  ['client list', ['CLIENT', 'LIST'], /id=1 name=you .*cmd=client resp=3 lib-name=tests/],
  ['client info', ['CLIENT', 'INFO'], /^\$\d+\r\nid=1 name=you/],
  ['client no-evict', ['CLIENT', 'NO-EVICT', 'on'], '+OK\r\n'],
  ['client unknown', ['CLIENT', 'KILL', '1'], /^-ERR unknown subcommand 'CLIENT KILL'/],
  ['client setname alone', ['CLIENT', 'SETNAME'], /^-ERR wrong number of arguments for 'CLIENT SETNAME'/],
  ['info', ['INFO'], /^=\d+\r\ntxt:# Server\r\n.*\r\nloading:0\r\n.*collections:3\r\n/s],
  [
    'info of a section',
    ['INFO', 'replication'],
    /^=\d+\r\ntxt:# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n$/,
  ],
  ['config get', ['CONFIG', 'GET', 'save'], '%1\r\n$4\r\nsave\r\n$0\r\n\r\n'],
  ['config get of nothing', ['CONFIG', 'GET', 'x'], '%0\r\n'],
  ['config set', ['CONFIG', 'SET', 'save', ''], /^-ERR CONFIG 'SET'/],
  ['command count', ['COMMAND', 'COUNT'], /^:\d\d\r\n$/],
  [
    'command info',
    ['COMMAND', 'INFO', 'wal.append', 'get'],
    /^\*2\r\n\*10\r\n\$10\r\nwal.append\r\n:-6\r\n\*1\r\n\+write\r\n:1\r\n:1\r\n:1\r\n.*_\r\n$/s,
  ],
  ['command docs', ['COMMAND', 'DOCS', 'wal.drop'], /^%1\r\n\$8\r\nwal.drop\r\n%3\r\n/],
  ['command unknown', ['COMMAND', 'GETKEYS'], /^-ERR unknown subcommand/],
  ['reset', ['RESET'], '+RESET\r\n'],
  ['nil in RESP2 again', ['CLIENT', 'GETNAME'], '*-1\r\n'],
];
for (const [what, request, expected] of conversation) {
  test(`${what}: ${JSON.stringify(request.map(String)).slice(0, 60)}`, async () => {
    client.send(request);
    const reply = await client.line();
    if (typeof expected === 'string') assert.equal(reply, expected);
    else assert.match(reply, expected);
  });
}

test('COMMAND lists every command of the contract', async () => {
  client.send(['COMMAND', 'LIST']);
  const listed = (await client.line()).split('\r\n');
  const contract =
    'append read export checkpoint flush compact stat list drop assign assignment unassign assignments forget';
  for (const name of contract.split(' ')) assert.ok(listed.includes(`wal.${name}`), name);
  for (const name of 'ping echo hello auth select client command info reset quit'.split(' ')) {
    assert.ok(listed.includes(name), name);
  }
});

test('a read that waits is answered when an entry comes, and NOTFOUND when the collection is dropped meanwhile', async () => {
  const writer = await running.connect();
  client.send(['WAL.READ', 'k', '3', 'BLOCK', '0']);
  writer.send(['WAL.APPEND', 'k', '3', 'INSERT', 'a', 'b']);
  assert.match(await client.line(), /^\*1\r\n\*5\r\n:3\r\n/);
  client.send(['WAL.READ', 'k', '4', 'BLOCK', '0']);
  writer.take();
  writer.send(['WAL.DROP', 'k']);
  assert.match(await client.line(), /^-NOTFOUND /);
});

test('QUIT is answered, what follows it is not, and the connection ends', async () => {
  const other = await running.connect();
  other.send(['QUIT'], ['PING']);
  await other.expect('+OK\r\n');
  assert.equal(await other.line(), '');
});
