/**
 * The calls of a simulated file system: which comes next, which fails, which waits, and in which the machine stops.
 *
 * A call is one step, carried out whole in a turn of its own of the event loop. After the stop no call is settled.
 */
import { systemError } from './filesystem.ts';
import type { Random } from './random.ts';

export type SimulatedOperation =
  | 'list'
  | 'stat'
  | 'mkdir'
  | 'rmdir'
  | 'open'
  | 'read'
  | 'create'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'close'
  | 'rename'
  | 'unlink'
  | 'syncDirectory'
  | 'lock'
  | 'space';

/** One call under way. */
interface Step {
  readonly operation: SimulatedOperation;
  readonly path: string;
  /** Carries it out, and settles its promise. */
  readonly run: () => void;
  /** What it may have done when the machine stops in it. */
  readonly interrupt: (random: Random) => void;
}

/** How a call ends other than by its effect. */
interface Deviations {
  readonly onFault?: () => void;
  readonly onCrash?: () => void;
}

/** Calls of an operation on the paths that match. */
export interface Selection {
  readonly operation: SimulatedOperation;
  readonly pattern: RegExp;
}

/** The calls of one machine, until it stops. */
export class SimulatedSteps {
  /** Resolves when the machine has stopped. */
  readonly stopped: Promise<void>;
  readonly #announceStop: () => void;
  readonly #random: Random;
  readonly #shuffled: boolean;
  readonly #waiting: Step[] = [];
  readonly #faults: (Selection & { readonly code: string })[] = [];
  readonly #holds = new Set<Selection>();
  #turnIsDue = false;
  #isStopped = false;
  #count = 0;
  #stopAt = Number.POSITIVE_INFINITY;

  /** With `shuffled`, `random` draws the next of several waiting calls; else it is the oldest. */
  constructor(random: Random, shuffled: boolean) {
    this.#random = random;
    this.#shuffled = shuffled;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopped = promise;
    this.#announceStop = resolve;
  }

  /** The number of calls carried out. */
  get count(): number {
    return this.#count;
  }

  /** The machine stops in the call number `count`. */
  stopAt(count: number): void {
    this.#stopAt = count;
  }

  stop(): void {
    this.#isStopped = true;
    this.#waiting.length = 0;
    this.#announceStop();
  }

  /** The next selected call fails with `code`. */
  failNext(selection: Selection, code: string): void {
    this.#faults.push({ ...selection, code });
  }

  /** Selected calls wait until the returned function is called. */
  hold(selection: Selection): () => void {
    const held = { ...selection };
    this.#holds.add(held);
    return () => {
      this.#holds.delete(held);
      this.#schedule();
    };
  }

  /** A call under way: resolves with what `effect` returns once its turn has come. */
  take<Value>(
    operation: SimulatedOperation,
    path: string,
    effect: () => Value,
    { onFault, onCrash = effect }: Deviations = {},
  ): Promise<Value> {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    const run = () => {
      try {
        const fault = this.takeFault(operation, path);
        if (fault) {
          onFault?.();
          throw fault;
        }
        resolve(effect());
      } catch (error) {
        reject(error);
      }
    };
    const interrupt = (random: Random) => {
      const outcome = [() => undefined, effect, onCrash][random.below(3)];
      try {
        outcome?.();
      } catch {
        // It failed as it would have anyway, and nobody is there to be told.
      }
    };
    this.#waiting.push({ operation, path, run, interrupt });
    this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#turnIsDue || this.#isStopped) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnIsDue = false;
    const step = this.#takeStep();
    if (!step) return;
    this.#count += 1;
    if (this.#count >= this.#stopAt) {
      step.interrupt(this.#random);
      this.stop();
      return;
    }
    step.run();
    this.#schedule();
  }

  #takeStep(): Step | undefined {
    if (this.#isStopped) return undefined;
    const ready = this.#waiting.filter(
      (step) => ![...this.#holds].some((held) => matches(held, step.operation, step.path)),
    );
    const step = ready[this.#shuffled ? this.#random.below(ready.length) : 0];
    if (step) this.#waiting.splice(this.#waiting.indexOf(step), 1);
    return step;
  }

  /** The error that this call is to fail with, if any. */
  takeFault(operation: SimulatedOperation, path: string): Error | undefined {
    const index = this.#faults.findIndex((fault) => matches(fault, operation, path));
    const fault = index < 0 ? undefined : this.#faults.splice(index, 1)[0];
    return fault && systemError(fault.code, operation, path);
  }
}

function matches({ operation, pattern }: Selection, calledOperation: SimulatedOperation, path: string): boolean {
  return operation === calledOperation && pattern.test(path);
}
