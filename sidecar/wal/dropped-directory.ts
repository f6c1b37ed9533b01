/** What a drop leaves in storage, and its end. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { collectionFileName } from '../assignment/collection-file.ts';
import { systemCode } from '../errors.ts';
import type { Committer } from './committer.ts';

/**
 * What `WAL.DROP` leaves to do in storage: segments, then `_collection.json`, then the directory (E13). Where that holds anything
 * else, or is a link, it is not ours to delete: it gets a name of the system's, so that the collection's is free again.
 */
export async function deleteDirectory(
  { storage }: Committer,
  directory: string,
  segments: readonly string[],
  logger: Pick<Logger, 'warn'>,
): Promise<void> {
  if (segments.length > 0) await storage.remove(directory, segments);
  await storage.remove(directory, [collectionFileName]);
  try {
    await storage.removeDirectory(directory);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(systemCode(error) ?? '')) throw error;
    const aside = `_left-${randomBytes(8).toString('hex')}-${directory}`;
    await storage.rename('', directory, aside);
    logger.warn(
      { url: storage.url, directory, aside },
      'what a dropped collection’s directory held besides is kept aside',
    );
  }
}
