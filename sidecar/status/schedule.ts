/**
 * When the status is published: within 2 s of the first change after quiet, then at most every 30 s; unchanged, every
 * 5 minutes; after a failure with growing pauses. Pure: times are passed in.
 *
 * What an administrator waits for, a new configuration's fate, ends the pause, but no pause after a failure. The first reports, up to the first ready one, begin no pause: what is appended right after the start is seen at once.
 */

/** A change waits so long for what comes with it. */
const settleMs = 1000;
const pauseMs = 30_000;
const unchangedMs = 5 * 60_000;
const retryMinMs = 1000;
const retryMaxMs = 15_000;

export class PublishSchedule {
  /** What was published last. */
  #published: string | undefined;
  #publishedMs = 0;
  /** Nothing is sent before. */
  #notBeforeMs = 0;
  #changedMs: number | undefined;
  /** A look since the last publication found nothing new. */
  #isQuiet = true;
  #wasReady = false;
  #failures = 0;

  /** Whether it is worth to look for a change at all. */
  isLookDue(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs;
  }

  /** Whether to publish now, given what would be published. */
  isDue(nowMs: number, content: string): boolean {
    if (!this.isLookDue(nowMs)) return false;
    if (this.#published === undefined) return true;
    if (content === this.#published) {
      this.#isQuiet = true;
      this.#changedMs = undefined;
      return nowMs - this.#publishedMs >= unchangedMs;
    }
    this.#changedMs ??= nowMs;
    return !this.#isQuiet || nowMs - this.#changedMs >= settleMs;
  }

  /** The content was published, by a request that began at `nowMs`. */
  succeeded(nowMs: number, content: string, isReady: boolean): void {
    const pauses = this.#wasReady;
    this.#wasReady ||= isReady;
    this.#published = content;
    this.#publishedMs = nowMs;
    this.#changedMs = undefined;
    this.#failures = 0;
    this.#isQuiet = !pauses;
    this.#notBeforeMs = pauses ? nowMs + pauseMs : nowMs;
  }

  /** Something came that is to be published within 2 s, whatever was published just now. */
  hasten(nowMs: number): void {
    if (this.#failures > 0) return;
    this.#notBeforeMs = Math.min(this.#notBeforeMs, nowMs);
    this.#isQuiet = true;
  }

  /** The attempt failed. `retryAfterMs`: what the server asked for. `random`: 0 to 1, spreads the pods' attempts. */
  failed(nowMs: number, retryAfterMs: number, random: number): void {
    const pause = Math.min(retryMaxMs, retryMinMs * 2 ** this.#failures);
    this.#failures += 1;
    this.#notBeforeMs = nowMs + Math.max(retryAfterMs, pause * (0.5 + random / 2));
  }
}
