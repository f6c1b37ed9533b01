/** Something that verification has to say about what is stored. */
export interface Finding {
  /**
   * `wrong`: lost, damaged, unreadable or contradictory. `note`: a sidecar puts it right by itself, or leaves it alone.
   */
  readonly level: 'wrong' | 'note';
  /** A URL, a file's or directory's full URL, or a collection. */
  readonly where: string;
  readonly problem: string;
  /** Empty where the problem says it. */
  readonly remedy: string;
}
