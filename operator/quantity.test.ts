import assert from 'node:assert/strict';
import { test } from 'node:test';
import { humanSize, quantityBytes } from './quantity.ts';

test('a quantity becomes whole bytes', () => {
  const cases: readonly (readonly [number | string, number])[] = [
    [1048576, 1048576],
    ['1048576', 1048576],
    ['1Mi', 1048576],
    ['512Mi', 536870912],
    ['1.5Gi', 1610612736],
    ['100M', 100_000_000],
    ['2e6', 2_000_000],
    ['2E3', 2000],
    ['2E', 2e18],
    ['0.5Ki', 512],
    ['1500m', 2],
    ['1.001M', 1_001_000],
    ['100.3M', 100_300_000],
    ['+3k', 3000],
    ['.5k', 500],
  ];
  for (const [quantity, bytes] of cases) assert.equal(quantityBytes(quantity), bytes, String(quantity));
});

test('what is no quantity is undefined', () => {
  for (const text of ['', 'Mi', '1 Mi', '1mi', '1KB', '0x10', '1e', 'NaN', '1..2']) {
    assert.equal(quantityBytes(text), undefined, text);
  }
});

test('bytes are shown in the unit that gives 1 to 1023.99', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [3_178_106, '3.03 MiB'],
    [1024 * 1024 - 1, '1.00 MiB'],
    [5 * 2 ** 40, '5.00 TiB'],
  ];
  for (const [bytes, shown] of cases) assert.equal(humanSize(bytes), shown);
});
