/** The deletion of a dropped incarnation's storage: tried until it succeeds, by whoever needs it. */
export class Deletion {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | undefined;

  /** @param work deletes it; may be called again after it has failed, never while it runs */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves when the storage is gone; rejects with what stopped this attempt. */
  async finish(): Promise<void> {
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }
}
