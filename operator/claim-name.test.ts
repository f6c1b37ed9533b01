import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { claimName } from './claim-name.ts';

const letters = Array.from('abcxyz0189-');
const label = (lengthMax: number) =>
  fc
    .string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength: lengthMax })
    .filter((text) => !text.startsWith('-') && !text.endsWith('-'));
const podName = fc
  .array(label(90), { minLength: 1, maxLength: 3 })
  .map((labels) => labels.join('.'))
  .filter(({ length }) => length <= 253);

test('O2 a claim is named by pod, volume and a hash of storage, volume and pod', () => {
  assert.equal(claimName('orders', 'wal1', 'proximadb-0'), 'proximadb-0-wal1-e911a3fc');
  assert.notEqual(claimName('orders', 'b', 'db-0-a'), claimName('orders', 'a-b', 'db-0'));
  assert.notEqual(claimName('orders', 'wal1', 'db-0'), claimName('others', 'wal1', 'db-0'));
});

test('O2 every name of a claim is a name that the API server takes', () => {
  fc.assert(
    fc.property(label(40), label(40), podName, (storage, volume, pod) => {
      const name = claimName(storage, volume, pod);
      assert.ok(name.length <= 253, name);
      assert.match(name, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
      assert.ok(name.includes(`-${volume}-`), name);
    }),
  );
});

test('O2 pods whose long names differ only at the end get claims of their own', () => {
  const long = 'x'.repeat(252);
  assert.notEqual(claimName('orders', 'wal1', `${long}a`), claimName('orders', 'wal1', `${long}b`));
  assert.ok(claimName('orders', 'wal1', `${'x'.repeat(238)}.${'y'.repeat(14)}`).startsWith(`${'x'.repeat(238)}-wal1-`));
});
