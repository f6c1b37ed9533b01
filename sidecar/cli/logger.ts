/** The process's logger: JSON lines for machines, readable lines on a terminal. */
import pino, { type Logger } from 'pino';

/** Logs to standard output, at `level` and above. */
export async function makeLogger(level: string): Promise<Logger> {
  if (!process.stdout.isTTY) return pino({ level });
  const { default: pretty } = await import('pino-pretty');
  return pino({ level }, pretty({ translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }));
}
