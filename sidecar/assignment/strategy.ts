/**
 * The three strategies: which URL gets a new collection. Pure: the service and `walstorage simulate` call the same
 * function, so what is simulated is what happens.
 *
 * | strategy | the collection goes to the available URL with | ties |
 * |---|---|---|
 * | RoundRobin | the fewest collections, so that a restart or a drop leaves no URL behind | the next one in the round |
 * | Hash | the highest SHA-256 of URL and collection (rendezvous): a new URL takes only its own share | the first |
 * | LoadBalanced | the lowest collections + bytes ÷ 1 MiB | the first |
 */
import { createHash } from 'node:crypto';
import type { Strategy } from './assignment.ts';

/** One URL as a strategy sees it. */
export interface Candidate {
  /** Its place in the component's list, from 0. */
  readonly index: number;
  readonly url: string;
  /** Collections that it holds, those being created included. */
  readonly collections: number;
  /** Bytes that it holds. */
  readonly bytes: number;
  /** Only available URLs are chosen. */
  readonly available: boolean;
}

const bytesPerMiB = 1024 * 1024;

/**
 * Chooses the URL of a new collection.
 * `cursor` is where the round goes on: 0 at first, then the index after the last one chosen (RoundRobin alone looks at it).
 * Returns the index of the chosen candidate, or undefined when none is available.
 */
export function choose(
  strategy: Strategy,
  collection: string,
  candidates: readonly Candidate[],
  cursor: number,
): number | undefined {
  const available = candidates.filter((candidate) => candidate.available);
  if (strategy === 'RoundRobin') return nextInRound(available, cursor);
  if (strategy === 'Hash') return highestHash(available, collection);
  return lowest(available, (candidate) => candidate.collections + candidate.bytes / bytesPerMiB)?.index;
}

function nextInRound(available: readonly Candidate[], cursor: number): number | undefined {
  const fewest = Math.min(...available.map((candidate) => candidate.collections));
  const behind = available.filter((candidate) => candidate.collections === fewest);
  const ahead = behind.filter((candidate) => candidate.index >= cursor);
  return lowest(ahead.length > 0 ? ahead : behind, (candidate) => candidate.index)?.index;
}

function highestHash(available: readonly Candidate[], collection: string): number | undefined {
  let best: { index: number; weight: Buffer } | undefined;
  for (const { index, url } of available) {
    // No URL and no collection contains NUL, so that no two pairs give the same bytes.
    const weight = createHash('sha256').update(`${url}\0${collection}`).digest();
    if (best === undefined || Buffer.compare(weight, best.weight) > 0) best = { index, weight };
  }
  return best?.index;
}

function lowest(candidates: readonly Candidate[], measure: (candidate: Candidate) => number): Candidate | undefined {
  let best: Candidate | undefined;
  for (const candidate of candidates) {
    if (best === undefined || measure(candidate) < measure(best)) best = candidate;
  }
  return best;
}
