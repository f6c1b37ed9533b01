import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeEntry, encodeEntry, entryOverheadBytesMax } from './entry.ts';
import { CollectionMemory, type EntryRun } from './memory.ts';

const operation = Buffer.from('INSERT');
const key = Buffer.from('k');

function entry(sequence: number, payloadBytes: number): Buffer {
  const payload = Buffer.alloc(payloadBytes, sequence & 0xff);
  const target = Buffer.alloc(entryOverheadBytesMax + operation.length + key.length + payloadBytes);
  return target.subarray(0, encodeEntry(target, 0, sequence, 1, operation, key, payload));
}

function run(first: number, sizes: readonly number[]): EntryRun {
  return {
    first,
    count: sizes.length,
    bytes: Buffer.concat(sizes.map((size, index) => entry(first + index, size))),
  };
}

/** The sequences and bytes of runs, each entry decoded: what a reader would get. */
function entriesOf(runs: Iterable<EntryRun>): { sequences: number[]; bytes: Buffer } {
  const sequences: number[] = [];
  const parts: Buffer[] = [];
  for (const { first, count, bytes } of runs) {
    let at = 0;
    let expected = first;
    while (at < bytes.length) {
      const { entry: found, end } = decodeEntry(bytes, at);
      assert.equal(found.sequence, expected++);
      sequences.push(found.sequence);
      at = end;
    }
    assert.equal(expected - first, count, 'the run says how many entries it has');
    parts.push(bytes);
  }
  return { sequences, bytes: Buffer.concat(parts) };
}

/** What the memory must hold: entries by sequence, those that a flush is writing first. */
interface Model {
  frozen: Map<number, Buffer>;
  active: Map<number, Buffer>;
  next: number;
}

interface Real {
  readonly memory: CollectionMemory;
}

type Action = (model: Model, real: Real) => void;

function held(model: Model): [number, Buffer][] {
  return [...model.frozen, ...model.active];
}

/** Everything that can be asked is right. `from` is where a read begins. */
function check(model: Model, { memory }: Real, from: number): void {
  const expected = held(model);
  const bytes = expected.reduce((sum, [, encoded]) => sum + encoded.length, 0);
  assert.equal(memory.isEmpty, expected.length === 0);
  assert.equal(memory.first, expected[0]?.[0]);
  assert.equal(memory.last, expected.at(-1)?.[0]);
  assert.equal(memory.usedBytes, bytes);
  assert.equal(
    memory.unfrozenBytes,
    [...model.active.values()].reduce((sum, encoded) => sum + encoded.length, 0),
  );
  assert.ok(memory.capacityBytes >= bytes, 'what is held is counted');
  if (expected.length === 0) assert.equal(memory.capacityBytes, 0, 'what is freed is not counted');
  const read = entriesOf(memory.runsFrom(from));
  const wanted = expected.filter(([sequence]) => sequence >= from);
  assert.deepEqual(
    read.sequences,
    wanted.map(([sequence]) => sequence),
  );
  assert.deepEqual(read.bytes, Buffer.concat(wanted.map(([, encoded]) => encoded)));
}

const sizes = fc.array(fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 9_000 })), { minLength: 1, maxLength: 8 });

const actions: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: sizes.map(
      (list): Action =>
        (model, { memory }) => {
          const added = run(model.next, list);
          memory.append(added);
          for (const [index, size] of list.entries())
            model.active.set(model.next + index, entry(model.next + index, size));
          model.next += list.length;
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Action>((model, { memory }) => {
      if (model.frozen.size > 0) {
        assert.throws(() => memory.freeze(), /under way/);
        return;
      }
      const frozen = memory.freeze();
      assert.equal(frozen === undefined, model.active.size === 0);
      assert.deepEqual(entriesOf(frozen ?? []).sequences, [...model.active.keys()]);
      model.frozen = model.active;
      model.active = new Map();
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Action>((model, { memory }) => {
      memory.dropFrozen();
      model.frozen = new Map();
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Action>((model, { memory }) => {
      memory.thaw();
      model.active = new Map(held(model));
      model.frozen = new Map();
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Action>((model, { memory }) => {
      memory.clear();
      model.active = new Map();
      model.frozen = new Map();
    }),
  },
  {
    weight: 1,
    arbitrary: fc.nat({ max: 60 }).map(
      (back): Action =>
        (model, { memory }) => {
          const sequence = model.next - back;
          memory.trim(sequence);
          // Chunks go whole: what is left must include all above the sequence, and nothing that was not there.
          const first = memory.first;
          for (const [known] of held(model)) {
            if (first === undefined || known < first) {
              assert.ok(known <= sequence && model.frozen.size === 0, `${known} was freed by trim(${sequence})`);
              model.active.delete(known);
            }
          }
        },
    ),
  },
);

test('memory holds what a plain list would, through appends, flushes, their failure, trims and drops', () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 5_000 }),
    fc.array(fc.tuple(actions, fc.nat({ max: 40 })), { maxLength: 40 }),
    (first, steps) => {
      const model: Model = { frozen: new Map(), active: new Map(), next: first };
      const real = { memory: new CollectionMemory() };
      for (const [action, back] of steps) {
        action(model, real);
        check(model, real, model.next - back);
        check(model, real, 0);
      }
    },
  );
  fc.assert(property, { numRuns: 200 });
});

test('entries that do not follow are refused: a gap in memory would be a gap for readers (R1)', () => {
  const memory = new CollectionMemory();
  memory.append(run(5, [10, 10]));
  for (const first of [4, 6, 8]) assert.throws(() => memory.append(run(first, [10])), /do not follow 6/);
  memory.freeze();
  assert.throws(() => memory.append(run(9, [10])), /do not follow 6/);
  memory.append(run(7, [10]));
});

test('views stay what they were while the memory goes on: appended to, flushed, cleared (E15)', () => {
  const memory = new CollectionMemory();
  memory.append(run(1, [100, 200]));
  const [view] = [...memory.runsFrom(2)];
  const before = Buffer.from(view?.bytes ?? []);
  for (let sequence = 3; sequence < 200; sequence++) memory.append(run(sequence, [500]));
  memory.freeze();
  memory.dropFrozen();
  memory.clear();
  assert.deepEqual(view?.bytes, before);
});

test('appended bytes are copied: the commit’s buffer is free at once (E6)', () => {
  const memory = new CollectionMemory();
  const added = run(1, [20]);
  const before = Buffer.from(added.bytes);
  memory.append(added);
  added.bytes.fill(0);
  assert.deepEqual(entriesOf(memory.runsFrom(0)).bytes, before);
});

test('one entry occupies little, and no chunk grows without need: many small collections fit (E6)', () => {
  const memory = new CollectionMemory();
  memory.append(run(1, [10]));
  assert.ok(memory.capacityBytes <= 4096);
  for (let sequence = 2; sequence <= 4000; sequence++) memory.append(run(sequence, [1000]));
  assert.ok(memory.capacityBytes <= memory.usedBytes + 256 * 1024);
});
