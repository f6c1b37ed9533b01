import { createHash } from 'node:crypto';

/** The hash of a configuration file's text: SHA-256, 64 hex digits. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
