/**
 * From what lies under the WAL URLs to running collections (E16–E26), in five steps, each over all URLs that work:
 *
 *   1. survey     directories, segments (survey.ts)
 *   2. replay     the journal (journal/replay.ts, replayed.ts)
 *   3. merge      what belongs to one incarnation (merge.ts)
 *   4. new epoch  what only the old journal held (epoch.ts)
 *   5. clear      what was dropped, and void segments: only now is it sure that the records which say so are on the disk (E17)
 *
 * A URL that fails, or makes no progress for 30 s, is Unavailable and harms no other.
 */
import { asWalError } from '../errors.ts';
import { replayJournal } from '../journal/replay.ts';
import type { Collection } from './collection.ts';
import type { Committer } from './committer.ts';
import { withProgress } from './progress.ts';
import { ReplayedJournal } from './replayed.ts';
import { type RecoveryOptions, type Replayed, Restoration, type Surveyed, type UnfinishedDrop } from './restoration.ts';
import { type Shelf, surveyUrl } from './survey.ts';

export interface Recovered {
  readonly collections: Map<string, Collection>;
  readonly unfinishedDrops: readonly UnfinishedDrop[];
}

/** Recovers every URL that works. */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const all = options.committers.map((committer) => ({ committer }));
  const surveyed = await eachWorking(all, options, (url, onProgress) => survey(url.committer, options, onProgress));
  const isStored = storedRanges(surveyed.flatMap((url) => url.survey.shelves));
  const replayed = await eachWorking(surveyed, options, (url) => replay(url, isStored, options));
  const restoration = new Restoration(options, replayed);
  const collections = await restoration.merge();
  await restoration.startEpochs();
  const unfinishedDrops = await restoration.clear();
  return { collections, unfinishedDrops };
}

/** Runs `work` for all at once; those that fail or hang become Unavailable and are left out. */
async function eachWorking<In extends { readonly committer: Committer }, Out>(
  urls: readonly In[],
  options: RecoveryOptions,
  work: (url: In, onProgress: () => void) => Promise<Out>,
): Promise<Out[]> {
  const results = await Promise.all(
    urls.map(async (url) => {
      const { committer } = url;
      if (committer.managed.state !== 'Recovering') return undefined;
      try {
        return await withProgress(work, url);
      } catch (error) {
        const failure = asWalError(error, 'UNAVAILABLE', `${committer.managed.url} could not be recovered`);
        options.logger.error({ url: committer.managed.url, err: error }, 'a WAL URL is Unavailable');
        committer.setState('Unavailable', failure.message);
        return undefined;
      }
    }),
  );
  return results.filter((result) => result !== undefined);
}

async function survey(committer: Committer, options: RecoveryOptions, onProgress: () => void): Promise<Surveyed> {
  const found = await surveyUrl(committer.storage, onProgress);
  for (const directory of found.discovery.foreign) {
    options.logger.warn({ url: committer.managed.url, directory }, 'no collection is named so: it is left alone');
  }
  return { committer, survey: found };
}

async function replay(
  url: Surveyed,
  isStored: ReplayedJournal['isStored'],
  options: RecoveryOptions,
): Promise<Replayed> {
  const result = await replayJournal(url.committer.storage, () => new ReplayedJournal(isStored));
  options.oldJournals.set(url.committer, {
    highestEpoch: result.highestEpoch,
    files: [...result.files],
    damagedFiles: new Set(result.damages.map((damage) => damage.file)),
  });
  for (const damage of result.damages) {
    options.logger.error({ url: url.committer.managed.url, ...damage }, 'the journal is damaged');
  }
  if (result.uncleanEnd !== undefined) {
    options.logger.warn(
      { url: url.committer.managed.url, ...result.uncleanEnd },
      'the journal had an unclean end: cut',
    );
  }
  return { ...url, replay: result };
}

/** Whether the segments of an incarnation hold all of a range. */
function storedRanges(shelves: readonly Shelf[]): ReplayedJournal['isStored'] {
  const ranges = new Map<string, { first: number; last: number }[]>();
  for (const shelf of shelves) {
    for (const segment of shelf.segments) {
      const incarnation = segment.header?.incarnation;
      if (incarnation === undefined) continue;
      const known = ranges.get(incarnation) ?? [];
      known.push(segment.file.range);
      ranges.set(incarnation, known);
    }
  }
  return (incarnation, { first, last }) =>
    ranges.get(incarnation)?.some((range) => range.first <= first && last <= range.last) ?? false;
}
