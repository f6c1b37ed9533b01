import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { type RoundReport, roundsPerSeed } from './simulation.ts';

const rounds = Number(process.env['SIMULATION_ROUNDS'] ?? 1000);
const firstSeed = Number(process.env['SIMULATION_SEED'] ?? 1);
const roundsPerThread = 100;
const threads = 2;

test(`R1 R2 E16 E17 E18: nothing acknowledged is lost, doubled or reordered in ${rounds} rounds that lose unsynced data, crashes in recovery included`, async (context) => {
  const parts = Array.from({ length: Math.ceil(rounds / roundsPerThread) }, (_, part) => ({
    firstSeed: firstSeed + (part * roundsPerThread) / roundsPerSeed,
    rounds: Math.min(roundsPerThread, rounds - part * roundsPerThread),
  }));
  const reports: RoundReport[] = [];
  const run = async (): Promise<void> => {
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) reports.push(await inThread(part));
  };
  await Promise.all(Array.from({ length: threads }, run));
  const sum = (key: keyof RoundReport): number => reports.reduce((total, report) => total + report[key], 0);
  context.diagnostic(
    `seeds ${firstSeed} to ${firstSeed + Math.ceil(rounds / roundsPerSeed) - 1}: ${sum('interrupted')} of ${sum('rounds')} crashes with commands unanswered, ${sum('recoveryCrashes')} crashes in recovery, ${sum('segments')} segments found`,
  );
  assert.equal(sum('rounds'), rounds);
  assert.ok(sum('interrupted') > rounds / 2, 'most crashes must hit something in flight');
});

async function inThread(part: { firstSeed: number; rounds: number }): Promise<RoundReport> {
  const worker = new Worker(new URL('./thread.ts', import.meta.url), { workerData: part });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error(`the thread of seed ${part.firstSeed} ended without a report`)));
    });
  } finally {
    await worker.terminate();
  }
}
