import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from './slots.ts';

test('E2: at most so many calls are under way, the others come in their order, and a failed one gives its slot on', async () => {
  const slots = new Slots(2);
  const begun: number[] = [];
  let underWay = 0;
  const call = async (number: number) => {
    begun.push(number);
    underWay += 1;
    assert.ok(underWay <= 2);
    await new Promise((resolve) => setImmediate(resolve));
    underWay -= 1;
    if (number % 2 === 0) throw new Error(`${number} failed`);
  };
  const numbers = Array.from({ length: 9 }, (_, index) => index);
  const results = await Promise.allSettled(numbers.map((number) => slots.run(() => call(number))));
  assert.deepEqual(begun, numbers);
  assert.equal(results.filter((result) => result.status === 'rejected').length, 5);
  await slots.run(() => call(1));
});
