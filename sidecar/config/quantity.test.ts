import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalQuantity, exactQuantity } from './quantity.ts';

test('all spellings of a quantity give one text, and different quantities different ones', () => {
  const spellings: readonly (readonly (number | string)[])[] = [
    ['1Gi', '1024Mi', '1048576Ki', '1073741824', 1_073_741_824, '+1Gi', '1.0Gi'],
    ['1G', '1000M', '1e9', '1E9', '1000000000'],
    ['500m', '0.5', '.5', 0.5, '500000u', '500000000n', '5e-1'],
    ['1', 1, '1000m', '1.000', '1.'],
    ['250m', 0.25],
    ['0', '0Gi', '0.00', '-0'],
    ['-1Ki', '-1024'],
  ];
  const canonical = spellings.map((same) => new Set(same.map(canonicalQuantity)));
  assert.deepEqual(
    canonical.map((texts) => texts.size),
    spellings.map(() => 1),
  );
  assert.equal(new Set(canonical.flatMap((texts) => Array.from(texts))).size, spellings.length);
});

test('R5 a quantity of a megabyte of digits is not calculated with', () => {
  const long = `1${'0'.repeat(1_000_000)}`;
  assert.equal(exactQuantity(long), undefined);
  assert.equal(canonicalQuantity(long), long);
});

test('what is no quantity stays as it is: the CRD refuses it', () => {
  assert.deepEqual(['', 'lots', '1Qi', '1 Gi', 'Gi'].map(canonicalQuantity), ['', 'lots', '1Qi', '1 Gi', 'Gi']);
});
