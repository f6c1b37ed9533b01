/** The operator's metrics, in a registry of their own. Base units; no label grows with the cluster's objects. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { ApiError } from './client.ts';
import type { Election } from './election.ts';
import type { Operator } from './operator.ts';
import type { Outcome } from './webhook/server.ts';
import type { Webhook } from './webhook/webhook.ts';

const prefix = 'proximadb_wal_operator_';
const reconcileSecondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const webhookSecondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10];

export class OperatorMetrics {
  readonly registry = new Registry();
  readonly #seconds: Histogram;
  readonly #errors: Counter;
  readonly #webhookSeconds: Histogram<'outcome'>;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry, prefix });
    this.#seconds = new Histogram({
      name: `${prefix}reconcile_duration_seconds`,
      help: 'Time of a reconcile',
      buckets: reconcileSecondsBuckets,
      registers,
    });
    this.#errors = new Counter({
      name: `${prefix}reconcile_errors_total`,
      help: 'Reconciles that failed, by the reason that the API server gave, or connection',
      labelNames: ['reason'],
      registers,
    });
    this.#webhookSeconds = new Histogram({
      name: `${prefix}webhook_duration_seconds`,
      help: 'Time from a request of the API server to the answer, by outcome: allowed, refused, error',
      labelNames: ['outcome'],
      buckets: webhookSecondsBuckets,
      registers,
    });
  }

  /** A reconcile took so long, and ended with this error, or undefined. */
  reconciled(seconds: number, error: unknown): void {
    this.#seconds.observe(seconds);
    if (error === undefined) return;
    this.#errors.inc({ reason: error instanceof ApiError ? error.reason || String(error.status) : 'connection' });
  }

  /** The webhook answered a request, after so long. */
  answered(outcome: Outcome, seconds: number): void {
    this.#webhookSeconds.observe({ outcome }, seconds);
  }

  /** Adds when the webhook's certificate expires, read whenever metrics are asked for. */
  observeWebhook(webhook: Webhook): void {
    const gauge: Gauge = new Gauge({
      name: `${prefix}webhook_certificate_expiry_seconds`,
      help: 'Until the certificate that the webhook serves with expires; absent before there is one',
      registers: [],
      collect: () => {
        gauge.remove();
        const { expiresMs } = webhook;
        if (expiresMs !== undefined) gauge.set((expiresMs - Date.now()) / 1000);
      },
    });
    this.registry.registerMetric(gauge);
  }

  /** Adds what is read from the operator, and from the election if there is one, whenever metrics are asked for. */
  observe(operator: Operator, election: Election | undefined): void {
    this.#observeElection(election);
    const registers: Registry[] = [];
    const labelNames = ['path'] as const;
    const queueDepth: Gauge = new Gauge({
      name: `${prefix}queue_depth`,
      help: 'WalStorages that wait for a worker',
      registers,
      collect: () => queueDepth.set(operator.queue.depth),
    });
    const watchAge: Gauge<'path'> = new Gauge({
      name: `${prefix}watch_age_seconds`,
      help: 'Since the API server last sent anything on a watch, bookmarks included',
      labelNames,
      registers,
      collect: () => {
        for (const { path, counts } of operator.reflectors) {
          if (counts.lastHeardMs > 0) watchAge.set({ path }, (Date.now() - counts.lastHeardMs) / 1000);
        }
      },
    });
    const objects: Gauge<'path'> = new Gauge({
      name: `${prefix}watched_objects`,
      help: 'Objects in the copy of a watch',
      labelNames,
      registers,
      collect: () => {
        for (const { path, size } of operator.reflectors) objects.set({ path }, size);
      },
    });
    const events = watchEvents.map(([event, help]) => {
      const counter: Counter<'path'> = new Counter({
        name: `${prefix}watch_${event}_total`,
        help,
        labelNames: ['path'],
        registers,
        collect: () => {
          counter.reset();
          for (const { path, counts } of operator.reflectors) counter.inc({ path }, counts[event]);
        },
      });
      return counter;
    });
    for (const metric of [queueDepth, watchAge, objects, ...events]) this.registry.registerMetric(metric);
  }

  #observeElection(election: Election | undefined): void {
    const figures: readonly (readonly [string, string, () => number | undefined])[] = [
      [
        'leader',
        'Whether this replica works: 1 or 0',
        () => Number(election === undefined || election.remainingMs > 0),
      ],
      ['lease_transitions', 'How often the lease has changed hands', () => election?.transitions],
      ['lease_age_seconds', 'Since this replica saw the lease renewed', () => secondsOf(election?.leaseAgeMs)],
    ];
    for (const [name, help, read] of figures) {
      const gauge: Gauge = new Gauge({
        name: `${prefix}${name}`,
        help,
        registers: [],
        collect: () => {
          const value = read();
          if (value === undefined) gauge.remove();
          else gauge.set(value);
        },
      });
      this.registry.registerMetric(gauge);
    }
  }
}

function secondsOf(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}

const watchEvents = [
  ['lists', 'Full lists'],
  ['watches', 'Watches begun'],
  ['failures', 'Lists and watches that failed'],
] as const;
