import assert from 'node:assert/strict';
import { test } from 'node:test';
import { thresholdBytesMax } from './memory.ts';

const mebibyte = 1024 * 1024;

test('a threshold fits beside 256 MiB into the memory that the system allows; without a limit any does', () => {
  assert.equal(thresholdBytesMax(768 * mebibyte), 512 * mebibyte);
  assert.equal(thresholdBytesMax(0), Number.POSITIVE_INFINITY);
  // As cgroup v1 tells that there is none.
  assert.ok(thresholdBytesMax(9_223_372_036_854_771_712) > 2 ** 60);
});
