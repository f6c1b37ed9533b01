/**
 * Events on a WalStorage, for `kubectl describe`. One for each condition whose status or reason becomes another, after
 * that was written into the status, so that nothing is repeated while nothing changes; besides, what was done to claims
 * and pods, summed up for each reconcile. Pure, but for the budget.
 *
 * | condition | Normal | Warning |
 * |---|---|---|
 * | Ready | `AllPodsReady`, `NoPods`, `PodsNotReady` | the rest |
 * | ConfigRendered | True | False |
 * | Degraded, DurabilityLimited | False (told only when it was True) | True |
 */
import type { StatusCondition } from '../crds/walstorage.generated.ts';
import { shortened } from '../sidecar/shortened.ts';
import { operatorName } from './desired.ts';
import { apiVersion, microTime, type WalStorage } from './kubernetes.ts';
import { list } from './sentence.ts';

export interface Occurrence {
  readonly type: 'Normal' | 'Warning';
  /** For programs, as `AllPodsReady`. */
  readonly reason: string;
  /** What we did, for programs. */
  readonly action: 'Reconcile' | 'CreateClaim' | 'GrowClaim' | 'Evict';
  readonly note: string;
}

/** The API server takes no more in a note. */
const noteBytesMax = 1024;
const ordinaryReasons: ReadonlySet<string> = new Set(['AllPodsReady', 'NoPods', 'PodsNotReady']);

/** What a new status tells that the one before didn't. */
export function transitionsOf(
  before: readonly StatusCondition[] | undefined,
  after: readonly StatusCondition[],
): Occurrence[] {
  const byType = new Map(before?.map((condition) => [condition.type, condition]));
  return after.flatMap(({ type, status, reason, message }) => {
    const old = byType.get(type);
    if (old?.status === status && old.reason === reason) return [];
    const isTrouble = type === 'Degraded' || type === 'DurabilityLimited';
    if (old === undefined && isTrouble && status === 'False') return [];
    const isGood =
      isTrouble || type === 'ConfigRendered' ? (status === 'True') !== isTrouble : ordinaryReasons.has(reason);
    return { type: isGood ? 'Normal' : 'Warning', reason, action: 'Reconcile', note: message };
  });
}

/** One occurrence for all that was done of a kind; none where nothing was. */
export function summed(
  action: Occurrence['action'],
  reason: string,
  verb: string,
  things: readonly string[],
): Occurrence[] {
  return things.length === 0 ? [] : [{ type: 'Normal', reason, action, note: `${verb} ${list(things)}.` }];
}

/**
 * An occurrence as the API server takes it. `kubectl describe` shows events in the order of their names, so these tell the time.
 * @param instance this operator's name
 * @param number tells occurrences of the same moment apart
 */
export function eventOf(
  storage: WalStorage,
  occurrence: Occurrence,
  { instance, now, number }: { readonly instance: string; readonly now: Date; readonly number: number },
): object {
  const { name, namespace, uid, resourceVersion } = storage.metadata;
  const { type, reason, action, note } = occurrence;
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `${name}.${nameOf(now, number)}`, namespace },
    eventTime: microTime(now),
    reportingController: operatorName,
    reportingInstance: instance,
    regarding: { apiVersion, kind: 'WalStorage', name, namespace, uid, resourceVersion },
    type,
    reason,
    action,
    note: shortened(note, noteBytesMax),
  };
}

/** Microseconds, and so of the same length for centuries. */
function nameOf(now: Date, number: number): string {
  return (now.getTime() * 1000 + (number % 1000)).toString(16);
}

const burst = 25;
const refillMs = 60_000;

interface Allowance {
  tokens: number;
  atMs: number;
}

/** How many events each WalStorage may still have: 25 at once, then one a minute. What flaps must not fill etcd. */
export class EventBudget {
  readonly #allowances = new Map<string, Allowance>();

  /** Whether an event may be sent now; counted if so. */
  take(key: string, nowMs: number): boolean {
    const { tokens, atMs } = this.#allowances.get(key) ?? { tokens: burst, atMs: nowMs };
    const refilled = Math.min(burst, tokens + (nowMs - atMs) / refillMs);
    const isLeft = refilled >= 1;
    this.#allowances.set(key, { tokens: isLeft ? refilled - 1 : refilled, atMs: nowMs });
    return isLeft;
  }

  /** Forgets a WalStorage that is gone. */
  forget(key: string): void {
    this.#allowances.delete(key);
  }
}
