/** The engine's clocks, passed in so that tests can turn them. */
export interface Clock {
  /** Microseconds since 1970, of the wall clock. */
  nowUs(): number;
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number;
}

/** A wall clock that differs by so much from where the monotonic one had led has been set. */
const jumpMs = 50;

/** The system's: the wall clock in microseconds by way of the monotonic one, set anew when the wall clock is set. */
export class SystemClock implements Clock {
  #offsetMs = Date.now() - performance.now();

  nowUs(): number {
    const nowMs = this.#offsetMs + performance.now();
    const wallMs = Date.now();
    if (Math.abs(nowMs - wallMs) <= jumpMs) return Math.floor(nowMs * 1000);
    this.#offsetMs = wallMs - performance.now();
    return wallMs * 1000;
  }

  monotonicMs(): number {
    return performance.now();
  }
}
