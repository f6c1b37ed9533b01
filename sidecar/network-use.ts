/** Keeps WAL URLs off network file systems, where a second writer could not be kept out (E28). */
import type { Logger } from 'pino';
import { WalError } from './errors.ts';
import { isExclusive, isPod } from './mounts.ts';
import { networkFileSystemOf } from './storage/network-file-system.ts';

export interface NetworkUseOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Pick<Logger, 'warn'>;
  /** The name of the network file system that holds a path, if one does. */
  readonly networkOf?: (path: string) => Promise<string | undefined>;
}

/**
 * Refuses a `file://` URL of the WAL on a network file system: UNAVAILABLE with the reason and the remedy. Not where its claim
 * is ReadWriteOncePod: Kubernetes itself then keeps a second pod off it. Outside a pod there may be one machine only, which
 * nobody here can know: there it warns.
 */
export async function refuseNetwork(url: string, options: NetworkUseOptions): Promise<void> {
  const { environment, logger, networkOf = networkFileSystemOf } = options;
  const path = url.slice('file://'.length);
  if (isExclusive(path, environment)) return;
  const name = await networkOf(path);
  if (name === undefined) return;
  const what = `${url} lies on a network file system (${name}), where the lock that keeps a second writer out cannot be relied on`;
  if (isPod(environment)) {
    const remedy = 'use a volume on a disk, or a claimTemplate with accessModes: [ReadWriteOncePod]';
    throw new WalError('UNAVAILABLE', `${what}: ${remedy}`);
  }
  logger.warn({ url, fileSystem: name }, `${what}: make sure that no other machine uses it`);
}
