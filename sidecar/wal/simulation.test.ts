import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Simulation } from './simulation.ts';

const rounds = Number(process.env['SIMULATION_ROUNDS'] ?? 1000);
const firstSeed = Number(process.env['SIMULATION_SEED'] ?? 1);
/** Lives of one simulated disk, one after the other, before a fresh one. */
const roundsPerSeed = 20;

test(`R1 R2 E16 E17 E18: nothing acknowledged is lost, doubled or reordered in ${rounds} rounds that lose unsynced data, crashes in recovery included`, async (context) => {
  let unanswered = 0;
  let recoveryCrashes = 0;
  let segments = 0;
  for (let round = 0, seed = firstSeed; round < rounds; seed++) {
    const simulation = new Simulation(seed);
    for (let life = 0; life < roundsPerSeed && round < rounds; life++, round++) {
      try {
        const report = await simulation.round();
        if (report.unanswered > 0) unanswered++;
        recoveryCrashes += report.recoveryCrashes;
        segments += report.segments;
      } catch (error) {
        throw new Error(
          `seed ${seed}, life ${life}: replay with SIMULATION_SEED=${seed} SIMULATION_ROUNDS=${life + 1}`,
          {
            cause: error,
          },
        );
      }
    }
  }
  const seeds = `${firstSeed} to ${firstSeed + Math.ceil(rounds / roundsPerSeed) - 1}`;
  context.diagnostic(
    `seeds ${seeds}: ${unanswered} of ${rounds} crashes with commands unanswered, ${recoveryCrashes} crashes in recovery, ${segments} segments found`,
  );
  assert.ok(rounds < 100 || unanswered > rounds / 2, 'most crashes must hit something in flight');
});
