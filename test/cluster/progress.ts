/** How far a long task is: one line that is rewritten on a terminal, elsewhere a line now and then. */

/** On a terminal the line is rewritten so often. */
const terminalMs = 1_000;
/** Elsewhere a line is written so often. */
const logMs = 20_000;

export class Progress {
  readonly #task: string;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #percent: number | undefined;

  /** @param task what is being done, the line's beginning */
  constructor(task: string) {
    this.#task = task;
    process.stderr.write(`${task}\n`);
    this.#timer = setInterval(() => this.#show(), process.stderr.isTTY ? terminalMs : logMs);
    this.#timer.unref();
  }

  /** @param percent of the task that is done, 0 to 100 */
  at(percent: number): void {
    this.#percent = percent;
  }

  /** Ends the line. */
  end(): void {
    clearInterval(this.#timer);
    const seconds = Math.round((performance.now() - this.#startMs) / 1000);
    process.stderr.write(`${process.stderr.isTTY ? '\r\u001B[K' : ''}${this.#task}: ended after ${seconds} s\n`);
  }

  #show(): void {
    const seconds = Math.round((performance.now() - this.#startMs) / 1000);
    const percent = this.#percent === undefined ? '' : `${Math.floor(this.#percent)} %, `;
    const line = `${this.#task}: ${percent}${seconds} s`;
    process.stderr.write(process.stderr.isTTY ? `\r\u001B[K${line}` : `${line}\n`);
  }
}
