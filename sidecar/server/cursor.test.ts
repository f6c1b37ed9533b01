import assert from 'node:assert/strict';
import { test } from 'node:test';
import { page } from './cursor.ts';

const names = Array.from({ length: 1000 }, (_, index) => `collection_${index}`);

function walk(namesAt: (pageNumber: number) => string[], count: number): string[] {
  const seen: string[] = [];
  let cursor = 0;
  for (let pageNumber = 0; ; pageNumber += 1) {
    const found = page(namesAt(pageNumber), (name) => name, cursor, count);
    seen.push(...found.items);
    cursor = found.cursor;
    if (cursor === 0) return seen;
  }
}

test('pages of any size hold each name once', () => {
  for (const count of [1, 7, 999, 1000, 5000]) {
    const seen = walk(() => names, count);
    assert.equal(seen.length, names.length);
    assert.deepEqual(new Set(seen), new Set(names));
  }
});

test('names that are there all the while are seen exactly once, whatever comes and goes between pages', () => {
  const lasting = names.filter((_, index) => index % 2 === 0);
  const passing = names.filter((_, index) => index % 2 === 1);
  const seen = walk((pageNumber) => [...passing.slice(pageNumber * 40), ...lasting, `new_${pageNumber}`], 30);
  for (const name of lasting) assert.equal(seen.filter((other) => other === name).length, 1, name);
});

test('nothing to list is one empty page', () => {
  assert.deepEqual(
    page([], (name: string) => name, 0, 10),
    { cursor: 0, items: [] },
  );
});
