/**
 * What a user of a Redis client library does with the log: every `WAL.*` command once, binary payloads, maps, errors.
 * The same conversation is held with each client.
 */
import assert from 'node:assert/strict';

/** Strings stand for bytes: each character is one byte (latin1). */
export type Value = number | string | boolean | null | readonly Value[] | { readonly [key: string]: Value };

/** One client library, connected. */
export interface ClientUnderTest {
  /** The protocol that it speaks: in RESP3 maps come as maps. */
  readonly protocol: 2 | 3;
  /** Errors come as `{error: 'CODE message'}`, or as the library shows them. */
  readonly send: (...request: readonly string[]) => Promise<Value>;
}

/** Bytes of all kinds, line ends among them. A quote is left out: redis-cli shows it in a way that cannot be read back. */
const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0x22)).toString(
  'latin1',
);
const utf8Key = Buffer.from('schlüssel').toString('latin1');

const statisticsFields = [
  'collection',
  'url',
  'path',
  'incarnation',
  'first_sequence',
  'next_sequence',
  'checkpoint',
  'entries',
  'bytes',
  'memory_bytes',
  'segments',
  'last_append_us',
];

/** Holds the conversation about a collection of its own. `viper` must be configured, too. */
export async function converse({ send, protocol }: ClientUnderTest, collection: string): Promise<void> {
  const error = async (code: string, ...request: readonly string[]): Promise<void> => {
    const reply = await send(...request);
    assert.match(asError(reply), new RegExp(`^${code}`), request.join(' '));
  };
  const map = async (...request: readonly string[]): Promise<Record<string, Value>> =>
    asRecord(await send(...request), protocol);

  assert.equal(await send('WAL.APPEND', collection, '*', 'INSERT', 'k1', binary), 1);
  assert.equal(await send('wal.append', collection, '2', 'UPDATE', '', '', 'DELETE', utf8Key, 'x\r\n'), 3);
  await error('CONFLICT 4$', 'WAL.APPEND', collection, '9', 'INSERT', 'k', 'v');

  await readEverything(send, collection);
  assert.equal(await send('WAL.FLUSH', collection), 3);
  await readEverything(send, collection);
  assert.equal(await send('WAL.FLUSH'), 0);
  assert.equal(await send('WAL.COMPACT', collection), 0);
  assert.equal(await send('WAL.COMPACT'), 0);
  assert.equal(asArray(await send('WAL.READ', collection, '2', 'COUNT', '1', 'BYTES', '1')).length, 1);
  assert.equal(await send('WAL.READ', collection, '4', 'BLOCK', '10'), null);
  assert.deepEqual(await send('WAL.READ', collection, '4'), []);

  const statistics = await map('WAL.STAT', collection);
  assert.deepEqual(
    [statistics['collection'], statistics['next_sequence'], statistics['entries'], statistics['segments']],
    [collection, 4, 3, 1],
  );
  assert.deepEqual(Object.keys(statistics), statisticsFields);
  const [cursor, names] = asArray(await send('WAL.LIST', '0', 'COUNT', '10000'));
  assert.equal(cursor, '0');
  assert.ok(asArray(names).includes(collection));

  assert.equal(await send('WAL.CHECKPOINT', collection, '1'), 2);
  await error('TRIMMED', 'WAL.READ', collection, '1');
  await error('INVALID', 'WAL.CHECKPOINT', collection, '99');

  await converseAboutAssignments({ send, protocol }, collection, map, error);

  assert.equal(await send('WAL.DROP', collection), 2);
  await error('NOTFOUND', 'WAL.STAT', collection);
  await error('ERR', 'WAL.FORGET', 'file:///gone');
  await error('ERR', 'WAL.NOPE');
}

async function readEverything(send: ClientUnderTest['send'], collection: string): Promise<void> {
  const entries = asArray(await send('WAL.READ', collection, '0')).map((entry) => {
    const [sequence, timestampUs, operation, key, payload] = asArray(entry);
    assert.ok(typeof timestampUs === 'number' && Math.abs(timestampUs / 1000 - Date.now()) < 3_600_000);
    return [sequence, operation, key, payload];
  });
  assert.deepEqual(entries, [
    [1, 'INSERT', 'k1', binary],
    [2, 'UPDATE', '', ''],
    [3, 'DELETE', utf8Key, 'x\r\n'],
  ]);
  const file = await send('WAL.EXPORT', collection, '2', 'BYTES', '1000000');
  assert.ok(typeof file === 'string' && file.startsWith('Obj\x01') && file.includes(utf8Key));
}

async function converseAboutAssignments(
  { send, protocol }: ClientUnderTest,
  collection: string,
  map: (...request: readonly string[]) => Promise<Record<string, Value>>,
  error: (code: string, ...request: readonly string[]) => Promise<void>,
): Promise<void> {
  const fields = ['component', 'collection', 'url', 'path', 'index', 'assigned_at'];
  const ours = await map('WAL.ASSIGNMENT', 'wal', collection);
  assert.deepEqual(Object.keys(ours), fields);
  assert.equal(await send('WAL.ASSIGNMENT', 'viper', collection), null);
  const assigned = await map('WAL.ASSIGN', 'viper', collection);
  assert.deepEqual([assigned['component'], assigned['collection'], assigned['index']], ['viper', collection, 0]);
  assert.deepEqual(await map('WAL.ASSIGN', 'viper', collection), assigned);
  assert.deepEqual(await map('WAL.ASSIGNMENT', 'viper', collection), assigned);
  const [cursor, all] = asArray(await send('WAL.ASSIGNMENTS', 'viper', '0', 'COUNT', '10000'));
  assert.equal(cursor, '0');
  assert.ok(asArray(all).some((one) => asRecord(one, protocol)['collection'] === collection));
  assert.equal(await send('WAL.UNASSIGN', 'viper', collection), 1);
  assert.equal(await send('WAL.UNASSIGN', 'viper', collection), 0);
  await error('INVALID', 'WAL.UNASSIGN', 'wal', collection);
}

function asArray(value: Value | undefined): readonly Value[] {
  if (isArray(value)) return value;
  throw new Error(`an array was expected, not ${JSON.stringify(value)}`);
}

/** `Array.isArray` does not tell readonly arrays. */
function isArray(value: Value | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** A map: in RESP2 a flat array of keys and values. */
function asRecord(value: Value, protocol: 2 | 3): Record<string, Value> {
  if (protocol === 3) {
    if (typeof value === 'object' && value !== null && !isArray(value)) return value;
    throw new Error(`a map was expected, not ${JSON.stringify(value)}`);
  }
  const flat = asArray(value);
  const record: Record<string, Value> = {};
  for (let at = 0; at < flat.length; at += 2) record[asText(flat[at])] = flat[at + 1] ?? null;
  return record;
}

function asError(value: Value): string {
  if (typeof value === 'object' && value !== null && !isArray(value)) return asText(value['error']);
  throw new Error(`an error was expected, not ${JSON.stringify(value)}`);
}

function asText(value: Value | undefined): string {
  if (typeof value === 'string') return value;
  throw new Error(`text was expected, not ${JSON.stringify(value)}`);
}
