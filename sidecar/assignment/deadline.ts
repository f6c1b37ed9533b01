import { WalError } from '../errors.ts';

/**
 * The promise's result, or UNAVAILABLE when it takes over `limitMs`: a hung mount must not hold up the other URLs.
 * What was begun may still end later. `what` is the beginning of the error's sentence.
 */
export async function within<T>(limitMs: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const sentence = `${what} gave no answer for ${limitMs / 1000} s: check the mount.`;
    timer = setTimeout(() => reject(new WalError('UNAVAILABLE', sentence)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
