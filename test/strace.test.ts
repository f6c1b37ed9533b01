/** What the kernel is asked, in which order: no reply leaves before its frame is on the disk, no file gets its name before its content is. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Random } from '../sidecar/storage/random.ts';
import { type Answer, type ConnectionAnswers, judgeTrace, tracedCalls } from './durability-order.ts';
import { program, testNeeding } from './requirement.ts';
import { RunningSidecar, Workplace } from './running-sidecar.ts';
import { parseTrace, type SystemCall, textsOf, tracer } from './system-calls.ts';

const connections = 16;
const appendsPerConnection = 100;
const pipelineDepth = 8;
const collections = 40;
const testLimitMs = 180_000;
const strace = program('strace', ['-D', '-f', '--seccomp-bpf', '-e', 'trace=none', 'true'], 'strace');

/** Pipelines appends on a connection of its own; resolves with what was answered, in order. */
async function converse(sidecar: RunningSidecar, label: string, random: Random): Promise<ConnectionAnswers> {
  const client = await sidecar.connect();
  await client.send('ECHO', label);
  const append = async (): Promise<Answer> => {
    const collection = `c${random.below(collections)}`;
    const entries = Array.from({ length: 1 + random.below(4) }, () => {
      return ['INSERT', label, Buffer.alloc(random.below(500), random.below(256))];
    });
    const last = await client.send('WAL.APPEND', collection, '*', ...entries.flat());
    return { collection, last: Number(last) };
  };
  const answers: Promise<Answer>[] = [];
  while (answers.length < appendsPerConnection) {
    await answers.at(-pipelineDepth);
    answers.push(append());
  }
  return { label, answers: await Promise.all(answers) };
}

/** Traces a sidecar with 4 URLs from its start to its end. */
async function record(workplace: Workplace): Promise<{ calls: SystemCall[]; answers: ConnectionAnswers[] }> {
  const traceFile = workplace.path('trace');
  const sidecar = await RunningSidecar.start({
    workplace,
    configuration: workplace.configuration(['d1', 'd2', 'd3', 'd4'], { memory_flush_size_bytes: 4096 }),
    before: tracer(traceFile, tracedCalls),
    environment: { NODE_DISABLE_COMPILE_CACHE: '1' },
  });
  try {
    const random = new Random(1);
    const labels = Array.from({ length: connections }, (_, index) => `connection ${index}`);
    const answers = await Promise.all(labels.map((label) => converse(sidecar, label, random)));
    assert.equal(await sidecar.stop(), 0);
    return { calls: parseTrace(await readFile(traceFile, 'utf8')), answers };
  } finally {
    await sidecar.kill();
  }
}

function isJournalWrite(call: SystemCall): boolean {
  return call.name.startsWith('pwrite') && textsOf(call).some((text) => text.toString('latin1', 0, 4) === 'WALF');
}

/** Traces of sidecars that answer or rename too early: the judge must see it. */
const doctored: readonly (readonly [string, RegExp, (calls: readonly SystemCall[]) => SystemCall[]])[] = [
  [
    'a frame whose write returns only at the end of all',
    /is told of c\d+ \d+, and durable is it up to \d+/,
    (calls) => {
      const frames = calls.filter(isJournalWrite);
      const late = frames[Math.floor(frames.length / 2)];
      return calls.map((call) => (call === late ? { ...call, end: Number.MAX_SAFE_INTEGER } : call));
    },
  ],
  [
    'journals without O_DSYNC',
    /is told of c\d+ \d+, and durable is it up to 0/,
    (calls) => calls.map((call) => ({ ...call, args: call.args.replace('|O_DSYNC', '') })),
  ],
  [
    'directories that are never synced',
    /is told of c\d+ \d+, and durable is it up to 0/,
    (calls) => calls.filter((call) => call.name !== 'fsync'),
  ],
  [
    'segments that are never synced',
    /\.avro before it is synced/,
    (calls) => calls.filter((call) => call.name !== 'fdatasync'),
  ],
  [
    'segments that are synced while they are written',
    /\.avro before it is synced/,
    (calls) => calls.map((call) => (call.name === 'fdatasync' ? { ...call, begin: 0 } : call)),
  ],
];

testNeeding(
  [strace],
  'R2 E8 strace: a reply leaves after its frame is on the disk, a file gets its name after its content is',
  { timeout: testLimitMs },
  async (t) => {
    const workplace = await Workplace.make();
    try {
      const { calls, answers } = await record(workplace);
      const judgement = judgeTrace(calls, answers);
      const { frames, renames, replies } = judgement;
      t.diagnostic(`${calls.length} calls: ${frames} frames, ${replies} replies, renames ${JSON.stringify(renames)}`);
      assert.deepEqual(judgement.violations, []);
      assert.equal(replies, connections * appendsPerConnection);
      assert.ok(frames >= 20 && renames.journals >= 4 && renames.segments >= 20 && renames.others >= collections);
      for (const [what, expected, change] of doctored) {
        const { violations } = judgeTrace(change(calls), answers);
        assert.ok(
          violations.some((violation) => expected.test(violation)),
          `the judge overlooks ${what}: ${violations.slice(0, 3).join('; ')}`,
        );
      }
    } finally {
      await workplace.end();
    }
  },
);
