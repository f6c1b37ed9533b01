import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WalError } from '../errors.ts';
import type { WalEntry } from '../wal/wal.ts';
import { encodeEntries } from './entries-encoding.ts';
import { Encoded, ErrorLine, type Protocol, type Reply, ReplyWriter, Status, Text } from './resp-serializer.ts';

function encode(reply: Reply, protocol: Protocol): string {
  const writer = new ReplyWriter();
  writer.reply(reply, protocol);
  const bytes = writer.bytes;
  const text = writer
    .take()
    .map((part) => (typeof part === 'string' ? part : Buffer.isBuffer(part) ? part.toString('latin1') : ''))
    .join('');
  assert.equal(bytes, text.length);
  assert.equal(writer.bytes, 0);
  return text;
}

const map = new Map<string, Reply>([
  ['a', 1],
  ['b', null],
]);

const cases: readonly {
  readonly what: string;
  readonly reply: Reply;
  readonly resp2: string;
  readonly resp3: string;
}[] = [
  { what: 'an integer', reply: 9007199254740991, resp2: ':9007199254740991\r\n', resp3: ':9007199254740991\r\n' },
  { what: 'a status', reply: new Status('OK'), resp2: '+OK\r\n', resp3: '+OK\r\n' },
  { what: 'an error', reply: new WalError('CONFLICT', '7'), resp2: '-CONFLICT 7\r\n', resp3: '-CONFLICT 7\r\n' },
  { what: 'another error', reply: new ErrorLine('NOPROTO x'), resp2: '-NOPROTO x\r\n', resp3: '-NOPROTO x\r\n' },
  {
    what: 'an error over several lines',
    reply: new WalError('ERR', 'a\r\nb\0c'),
    resp2: '-ERR a b c\r\n',
    resp3: '-ERR a b c\r\n',
  },
  { what: 'a text of UTF-8', reply: 'é', resp2: '$2\r\n\xc3\xa9\r\n', resp3: '$2\r\n\xc3\xa9\r\n' },
  { what: 'bytes', reply: Buffer.from([0, 255]), resp2: '$2\r\n\0\xff\r\n', resp3: '$2\r\n\0\xff\r\n' },
  { what: 'nothing', reply: null, resp2: '*-1\r\n', resp3: '_\r\n' },
  {
    what: 'an array',
    reply: [1, ['x']],
    resp2: '*2\r\n:1\r\n*1\r\n$1\r\nx\r\n',
    resp3: '*2\r\n:1\r\n*1\r\n$1\r\nx\r\n',
  },
  {
    what: 'a map',
    reply: map,
    resp2: '*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*-1\r\n',
    resp3: '%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n',
  },
  { what: 'text for people', reply: new Text('hi'), resp2: '$2\r\nhi\r\n', resp3: '=6\r\ntxt:hi\r\n' },
];
for (const { what, reply, resp2, resp3 } of cases) {
  test(`${what} in RESP2 and RESP3`, () => {
    assert.equal(encode(reply, 2), resp2);
    assert.equal(encode(reply, 3), resp3);
  });
}

test('short replies are one string, large buffers are parts of their own, order is kept', () => {
  const writer = new ReplyWriter();
  writer.integer(1);
  writer.reply('x', 2);
  assert.equal(writer.takeText(), ':1\r\n$1\r\nx\r\n');
  const large = Buffer.alloc(100_000, 'y');
  let written = 0;
  writer.reply(large, 2);
  writer.reply(new Encoded([Buffer.from('z')], () => (written += 1)), 2);
  writer.integer(2);
  assert.equal(writer.takeText(), undefined);
  const parts = writer.take();
  assert.deepEqual(
    parts.filter((part) => typeof part !== 'function').map((part) => part.length),
    [9, 100_000, 2, 1, 4],
  );
  assert.ok(parts.includes(large));
  assert.equal(written, 0);
});

const entry = (sequence: number, payload: Buffer): WalEntry => ({
  sequence,
  timestampUs: 1_700_000_000_000_000,
  operation: Buffer.from('INSERT'),
  key: Buffer.from('k'),
  payload,
});

test('entries are encoded as arrays of five, over as many blocks as they need, in copies', () => {
  const entries = Array.from({ length: 700 }, (_, index) => entry(index + 1, Buffer.alloc(1000 + index, index)));
  entries.push(entry(701, Buffer.alloc(600_000, 1)), entry(702, Buffer.alloc(0)));
  const expected = encode(
    entries.map(({ sequence, timestampUs, operation, key, payload }) => [
      sequence,
      timestampUs,
      operation,
      key,
      payload,
    ]),
    2,
  );
  const blocks = encodeEntries(entries);
  for (const { payload } of entries) payload.fill(0xee);
  assert.ok(blocks.length > 2);
  assert.equal(Buffer.concat(blocks).toString('latin1'), expected);
  assert.equal(Buffer.concat(encodeEntries([])).toString('latin1'), '*0\r\n');
});
