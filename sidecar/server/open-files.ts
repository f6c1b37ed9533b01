/** The system's limit on open files, and what it leaves for connections. */
import { readFile } from 'node:fs/promises';
import { defaultLimits, type Limits } from './limits.ts';

/** How many files this process may have open at once; undefined where the system does not tell, or sets no limit. */
export async function readOpenFilesMax(): Promise<number | undefined> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = /^Max open files +(\d+) /m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/**
 * The default limits, but connections take at most half of the files: were they to take all, the log could open none, and a
 * URL would fail for no fault of its disk.
 */
export function limitsWithin(openFilesMax: number | undefined): Limits {
  const half = Math.max(1, Math.floor((openFilesMax ?? Number.POSITIVE_INFINITY) / 2));
  return { ...defaultLimits, connections: Math.min(defaultLimits.connections, half) };
}
