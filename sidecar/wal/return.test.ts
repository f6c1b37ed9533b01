import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { append, closeEngine, openEngine, payloads, until } from './engine.fixture.ts';

test('a Missing URL that comes back is recovered without a restart: its collections are there, and go on (E26, states)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const before = await openEngine(fileSystem);
  for (const name of ['a', 'b']) await append(before.engine, name, [`${name} 1`, `${name} 2`]);
  const lost = before.assignments.get('wal', 'b')?.url.replace('file://', '') ?? '';
  await before.engine.drop('a');
  await append(before.engine, 'a', ['a again']);
  await closeEngine(before);

  await fileSystem.rename(lost, `${lost}-away`);
  const after = await openEngine(fileSystem);
  const missing = after.urls.find(({ url }) => url === `file://${lost}`);
  assert.equal(missing?.state, 'Missing');
  await assert.rejects(append(after.engine, 'b', ['b 3']), { code: 'UNAVAILABLE' });
  await assert.rejects(append(after.engine, 'new', ['1']), { code: 'UNAVAILABLE' });
  assert.deepEqual(await payloads(after.engine, 'a'), ['a again']);

  await fileSystem.rename(`${lost}-away`, lost);
  await until('the URL is Available again', () => missing?.state === 'Available');
  assert.deepEqual(await payloads(after.engine, 'b'), ['b 1', 'b 2']);
  assert.equal(await append(after.engine, 'b', ['b 3'], 3), 3);
  assert.equal(await append(after.engine, 'new', ['1']), 1);
  await closeEngine(after);

  const again = await openEngine(fileSystem.crash(2));
  assert.deepEqual(await payloads(again.engine, 'b'), ['b 1', 'b 2', 'b 3']);
  assert.deepEqual(await payloads(again.engine, 'a'), ['a again']);
  await closeEngine(again);
});

test('a URL that comes back with a collection that is served from elsewhere stays out until a restart merges them (E22, E23)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 2 });
  const first = await openEngine(fileSystem);
  for (const name of ['a', 'b']) await append(first.engine, name, [`${name} 1`]);
  const lost = first.assignments.get('wal', 'b')?.url.replace('file://', '') ?? '';
  const kept = first.assignments.get('wal', 'a')?.url.replace('file://', '') ?? '';
  await closeEngine(first);
  await fileSystem.rename(lost, `${lost}-away`);
  // Somebody makes a directory of the lost collection by hand: it counts as one found (E16).
  await fileSystem.createDirectory(`${kept}/b`);
  const second = await openEngine(fileSystem);
  await fileSystem.rename(`${lost}-away`, lost);
  const returned = second.urls.find(({ url }) => url === `file://${lost}`);
  await until('the URL is refused', () => returned?.state === 'Unavailable');
  assert.match(returned?.reason ?? '', /"b".*restart/);
  await closeEngine(second);
});
