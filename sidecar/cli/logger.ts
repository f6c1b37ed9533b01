/** The process's logger: JSON lines for machines, readable lines on a terminal. */
import pino, { type Logger } from 'pino';

/** Logs to standard output, at `level` and above; lines are on their way for a moment (`flushed`), so that nobody waits for a reader. */
export async function makeLogger(level: string): Promise<Logger> {
  // With a length, if only of one byte, the destination can be waited for.
  if (!process.stdout.isTTY) return pino({ level }, pino.destination({ dest: 1, sync: false, minLength: 1 }));
  const { default: pretty } = await import('pino-pretty');
  return pino({ level }, pretty({ translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', sync: true }));
}

/**
 * Resolves when all lines have been written: an exit before that writes the last ones in another order. It waits for a
 * reader that has stopped, as the exit itself would.
 */
export async function flushed(logger: Logger): Promise<void> {
  await new Promise<void>((resolve) => logger.flush(() => resolve()));
}
