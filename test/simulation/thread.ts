/** A thread of the simulation: dead engines leave timers and memory behind, which end with it. */
import { parentPort, workerData } from 'node:worker_threads';
import { simulate } from './simulation.ts';

const { firstSeed, rounds }: { firstSeed: number; rounds: number } = workerData;
parentPort?.postMessage(await simulate(firstSeed, rounds));
