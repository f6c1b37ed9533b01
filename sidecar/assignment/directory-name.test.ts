import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { collectionNameProblem, escapeCollection, unescapeDirectory } from './directory-name.ts';

const anyName = fc
  .oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 300 }), fc.string({ minLength: 1, maxLength: 512 }))
  .filter((name) => collectionNameProblem(name) === undefined);

const sha256 = (name: string): string => createHash('sha256').update(name).digest('hex');

test('the escape rule, row by row', () => {
  const rows: [string, string][] = [
    ['orders', 'orders'],
    ['a', 'a'],
    ['Orders-2.v1_x', 'Orders-2.v1_x'],
    ['_orders', '%5Forders'],
    ['.hidden', '%2Ehidden'],
    ['__', '%5F_'],
    ['..', '%2E.'],
    ['../etc/passwd', '%2E.%2Fetc%2Fpasswd'],
    ['-x', '-x'],
    ['a b', 'a%20b'],
    ['100%', '100%25'],
    ['lost+found', 'lost%2Bfound'],
    ['größe', 'gr%C3%B6%C3%9Fe'],
    ['\n', '%0A'],
    ['\uFEFFbom', '%EF%BB%BFbom'],
    ['x'.repeat(200), 'x'.repeat(200)],
    ['x'.repeat(201), `${'x'.repeat(130)}%~${sha256('x'.repeat(201))}`],
    // 43 escapes of 3 bytes are 129; the 44th does not fit into 130.
    ['/'.repeat(67), `${'%2F'.repeat(43)}%~${sha256('/'.repeat(67))}`],
    ['/'.repeat(66), '%2F'.repeat(66)],
  ];
  for (const [name, directory] of rows) assert.equal(escapeCollection(name), directory);
});

test('every name comes back from its directory, or is hashed', () => {
  fc.assert(
    fc.property(anyName, (name) => {
      const directory = escapeCollection(name);
      assert.match(directory, /^[A-Za-z0-9%-][A-Za-z0-9._%~-]*$/);
      assert.ok(directory.length <= 200);
      const back = unescapeDirectory(directory);
      if (directory.includes('%~')) assert.deepEqual(back, { kind: 'hashed' });
      else assert.deepEqual(back, { kind: 'collection', collection: name });
    }),
    { numRuns: 2000 },
  );
});

test('two names never share a directory', () => {
  fc.assert(
    fc.property(anyName, anyName, (one, other) => {
      assert.equal(escapeCollection(one) === escapeCollection(other), one === other);
    }),
  );
});

test('a directory that is taken for a collection is the very one that the rule writes', () => {
  const characters = fc.constantFrom('%', '2', '5', 'F', 'f', '~', '_', '.', 'a', '+', 'C', '3');
  fc.assert(
    fc.property(fc.string({ unit: characters, minLength: 1, maxLength: 12 }), (directory) => {
      const name = unescapeDirectory(directory);
      if (name.kind === 'collection') assert.equal(escapeCollection(name.collection), directory);
    }),
    { numRuns: 5000 },
  );
});

test('names that the rule cannot produce are foreign', () => {
  const foreign = [
    'lost+found',
    'a b',
    'größe',
    'a%2fb',
    'a%2',
    '%41bc',
    'a%5Fb',
    'a%00b',
    'gr%C3',
    '%FF',
    'x'.repeat(201),
    `short%~${sha256('short')}`,
    `${'x'.repeat(131)}%~${sha256('x')}`,
    `${'x'.repeat(130)}%~${sha256('x').toUpperCase()}`,
    'a%~b',
    'System Volume Information',
    '~',
  ];
  for (const name of foreign) assert.deepEqual(unescapeDirectory(name), { kind: 'foreign' }, name);
});

test('origin: temporary directories could pass for collections: names with _ or . in front are the system’s', () => {
  for (const name of ['_journal', '_temp', '.Trash-1000', '.', '..', '_']) {
    assert.deepEqual(unescapeDirectory(name), { kind: 'system' });
  }
});

test('origin: names shorter than 8 bytes or with dots were lost: they come back', () => {
  for (const name of ['a', 'x1', 'v1.2', 'a.b.c', '.', 'tmp.1', '0']) {
    assert.deepEqual(unescapeDirectory(escapeCollection(name)), { kind: 'collection', collection: name });
  }
});

test('a name of 0 or over 512 bytes, with NUL or a lone surrogate is refused with the rule', () => {
  assert.match(collectionNameProblem('') ?? '', /empty/);
  assert.match(collectionNameProblem('x'.repeat(513)) ?? '', /513 bytes: at most 512/);
  assert.match(collectionNameProblem('a\0b') ?? '', /NUL/);
  assert.match(collectionNameProblem('\uD800') ?? '', /UTF-8/);
  assert.equal(collectionNameProblem('ö'.repeat(256)), undefined);
});
