import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Judgement, judge, type Observation } from './membership.ts';
import type { NamedUrl, UrlFile } from './url-file.ts';

const id = (letter: string): string => letter.repeat(32);
const url = (name: string): string => `file:///mnt/${name}`;
const named = (letter: string, name: string): NamedUrl => ({ id: id(letter), url: url(name) });

function at(name: string, letter: string, others: NamedUrl[] = [], more: Partial<UrlFile> = {}): Observation {
  const file: UrlFile = { id: id(letter), component: 'wal', affinityWasFalse: false, others, forgotten: [], ...more };
  return { url: url(name), content: { kind: 'file', file } };
}
const empty = (name: string): Observation => ({ url: url(name), content: { kind: 'none' } });
const unread = (name: string): Observation => ({ url: url(name), content: { kind: 'unread', reason: 'EIO' } });
const pending = (name: string): Observation => ({ url: url(name), content: { kind: 'pending' } });

const kinds = ({ verdicts }: Judgement): string => verdicts.map((verdict) => verdict.kind).join(' ');

const rows: [title: string, observations: Observation[], verdicts: string, removed: NamedUrl[]][] = [
  ['all new', [empty('d1'), empty('d2')], 'fresh fresh', []],
  ['all known', [at('d1', 'a', [named('b', 'd2')]), at('d2', 'b', [named('a', 'd1')])], 'known known', []],
  ['a new one beside known ones', [at('d1', 'a'), empty('d2')], 'known fresh', []],
  [
    'E26: a named URL without its file is missing',
    [at('d1', 'a', [named('b', 'd2')]), empty('d2')],
    'known missing',
    [],
  ],
  [
    'E26: a named URL with another id is missing',
    [at('d1', 'a', [named('b', 'd2')]), at('d2', 'c')],
    'known missing',
    [],
  ],
  [
    'E26: a named URL that is configured no longer is removed',
    [at('d1', 'a', [named('b', 'd2')])],
    'known',
    [named('b', 'd2')],
  ],
  [
    'R6: an unread URL is neither missing nor removed',
    [at('d1', 'a', [named('b', 'd2')]), unread('d2')],
    'known unread',
    [],
  ],
  [
    'the id counts: a directory moved to another URL is known',
    [at('d1', 'a', [named('b', 'd2')]), at('d3', 'b')],
    'known known',
    [],
  ],
  [
    'a moved directory leaves a fresh one behind',
    [at('d1', 'a', [named('b', 'd2')]), empty('d2'), at('d3', 'b')],
    'known fresh known',
    [],
  ],
  [
    'two mounts swapped are both known',
    [at('d2', 'a', [named('b', 'd2')]), at('d1', 'b', [named('a', 'd1')])],
    'known known',
    [],
  ],
  [
    'a named id moved onto the place of a lost one',
    [at('d1', 'a', [named('b', 'd2'), named('c', 'd3')]), at('d2', 'c')],
    'known known',
    [named('b', 'd2')],
  ],
  [
    'a copy is refused, the one that the lists name is not',
    [at('d1', 'a', [named('b', 'd2')]), at('d2', 'b'), at('d3', 'b')],
    'known known refused',
    [],
  ],
  ['two copies that no list tells apart are both refused', [at('d1', 'a'), at('d2', 'a')], 'refused refused', []],
  [
    'another component’s directory is refused',
    [at('d1', 'a', [], { component: 'viper' }), empty('d2')],
    'refused fresh',
    [],
  ],
  [
    'E27: a forgotten id is not used, and does not count as lost',
    [at('d1', 'a', [named('b', 'd2')], { forgotten: [id('b')] }), at('d2', 'b')],
    'known forgotten',
    [],
  ],
  [
    'E27: the place of a forgotten id may be used anew',
    [at('d1', 'a', [named('b', 'd2')], { forgotten: [id('b')] }), empty('d2')],
    'known fresh',
    [],
  ],
  ['O5: a pending URL that nobody names is no obstacle', [at('d1', 'a'), pending('d2')], 'known pending', []],
  ['a pending URL that is named is missing', [at('d1', 'a', [named('b', 'd2')]), pending('d2')], 'known missing', []],
];

for (const [title, observations, verdicts, removed] of rows) {
  test(title, () => {
    const judgement = judge('wal', observations);
    assert.equal(kinds(judgement), verdicts);
    assert.deepEqual(judgement.removed, removed);
  });
}

test('a missing URL’s reason names both ids and the remedy', () => {
  const { verdicts } = judge('wal', [at('d1', 'a', [named('b', 'd2')]), at('d2', 'c')]);
  const reason = verdicts[1]?.reason ?? '';
  for (const part of [url('d2'), id('b'), id('c'), 'mount', 'forget']) assert.ok(reason.includes(part), reason);
});

test('E26: affinity that was ever false in one file counts for the component', () => {
  const files = [at('d1', 'a'), at('d2', 'b', [], { affinityWasFalse: true })];
  assert.equal(judge('wal', files).affinityWasFalse, true);
  assert.equal(judge('wal', files.slice(0, 1)).affinityWasFalse, false);
});

test('a moved directory is named under its new URL', () => {
  const { named: names } = judge('wal', [at('d1', 'a', [named('b', 'd2')]), at('d3', 'b')]);
  assert.deepEqual([...names], [[id('b'), url('d3')]]);
});
