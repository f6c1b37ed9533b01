import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemoryBudget } from './budget.ts';

test('nothing is admitted over the limit, whoever asks (E7)', () => {
  const budget = new MemoryBudget(1000, 2);
  budget.add(0, 600);
  assert.equal(budget.admits(1, 400, true), true);
  assert.equal(budget.admits(1, 401, true), false);
  budget.add(1, 400);
  assert.equal(budget.admits(0, 1, true), false);
});

test('a URL that cannot flush holds no more than its share (E7)', () => {
  const budget = new MemoryBudget(1000, 4);
  assert.equal(budget.admits(2, 250, false), true);
  assert.equal(budget.admits(2, 251, false), false);
  assert.equal(budget.admits(2, 251, true), true);
  budget.add(2, 200);
  assert.equal(budget.admits(2, 51, false), false);
  assert.equal(budget.admits(2, 50, false), true);
});

test('what is given back may be taken again', () => {
  const budget = new MemoryBudget(1000, 1);
  budget.add(0, 1000);
  assert.equal(budget.admits(0, 1, true), false);
  budget.add(0, -300);
  assert.equal(budget.totalBytes, 700);
  assert.equal(budget.admits(0, 300, true), true);
});

const all = (): boolean => true;
const second = (index: number): boolean => index === 1;

test('flushing of the largest begins at 75 % of the limit (E7)', () => {
  const budget = new MemoryBudget(1000, 2);
  budget.add(0, 750);
  assert.equal(budget.excessBytes(all), 0);
  budget.add(1, 40);
  assert.equal(budget.excessBytes(all), 40);
});

test('what a URL that cannot flush holds makes the others flush neither sooner nor for ever (E7)', () => {
  const budget = new MemoryBudget(1000, 2);
  budget.add(0, 800);
  assert.equal(budget.excessBytes(second), 0);
  budget.add(1, 150);
  assert.equal(budget.excessBytes(second), 0);
  budget.add(1, 10);
  assert.equal(budget.excessBytes(second), 10);
});

test('the total is the sum of what URLs took, through any takings and givings', () => {
  const steps = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 400 }), fc.boolean()), { maxLength: 60 });
  const property = fc.property(steps, (list) => {
    const budget = new MemoryBudget(1000, 4);
    const taken: number[] = [];
    let total = 0;
    for (const [index, bytes, canFlush] of list) {
      if (budget.admits(index, bytes, canFlush)) {
        budget.add(index, bytes);
        taken.push(index, bytes);
        total += bytes;
      } else if (taken.length > 0) {
        const [bytesBack = 0, from = 0] = [taken.pop(), taken.pop()];
        budget.add(from, -bytesBack);
        total -= bytesBack;
      }
      assert.equal(budget.totalBytes, total);
      assert.ok(total <= 1000);
    }
  });
  fc.assert(property);
});
