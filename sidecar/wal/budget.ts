/**
 * The bound on unflushed bytes over all collections (`global_flush_threshold`, E6, E7). Each URL is guaranteed its share,
 * threshold ÷ URLs; beyond its share a URL may use what is free as long as it can flush, so that what it borrowed comes back.
 */
export class MemoryBudget {
  #limitBytes: number;
  readonly #usedBytes: number[];
  #totalBytes = 0;

  constructor(limitBytes: number, urls: number) {
    this.#limitBytes = limitBytes;
    this.#usedBytes = Array.from({ length: urls }, () => 0);
  }

  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** Sets another limit. What is held beyond it stays until flushes have freed it; nothing more is admitted meanwhile. */
  resize(limitBytes: number): void {
    this.#limitBytes = limitBytes;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /**
   * Bytes over the level at which flushing of the largest collections begins: 75 % of the bound. What URLs that cannot
   * flush hold counts on neither side: else the others would flush every few entries for as long as that lasts.
   */
  excessBytes(canFlush: (index: number) => boolean): number {
    const stuck = this.#usedBytes.reduce((sum, bytes, index) => sum + (canFlush(index) ? 0 : bytes), 0);
    return Math.max(0, this.#totalBytes - stuck - 0.75 * (this.limitBytes - stuck));
  }

  /** Whether `bytes` more may be taken for the URL at `index`. */
  admits(index: number, bytes: number, canFlush: boolean): boolean {
    if (this.#totalBytes + bytes > this.limitBytes) return false;
    const shareBytes = Math.floor(this.limitBytes / Math.max(1, this.#usedBytes.length));
    return canFlush || (this.#usedBytes[index] ?? 0) + bytes <= shareBytes;
  }

  /** Takes (or, negative, gives back) bytes for the URL at `index`. */
  add(index: number, bytes: number): void {
    this.#usedBytes[index] = (this.#usedBytes[index] ?? 0) + bytes;
    this.#totalBytes += bytes;
  }
}
