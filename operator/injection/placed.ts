/** How one of a list is known again, and what is ours of it. */
export interface Places<T> {
  /** No two of a list have the same. */
  readonly keyOf: (one: T) => string;
  /** Whether an earlier injection may have made it. */
  readonly isOurs: (one: T) => boolean;
}

/**
 * A list with ours in it: each in the place of the one that has its key, else at the end. Ours of earlier that are no
 * longer wanted go; everybody else's stay, in their order. So injecting again moves nothing.
 */
export function placed<T>(found: readonly T[], ours: readonly T[], { keyOf, isOurs }: Places<T>): T[] {
  const wanted = new Map(ours.map((one) => [keyOf(one), one]));
  const kept = found.flatMap((one) => {
    const own = wanted.get(keyOf(one));
    wanted.delete(keyOf(one));
    return own ?? (isOurs(one) ? [] : one);
  });
  return [...kept, ...wanted.values()];
}
