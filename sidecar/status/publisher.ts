/**
 * The status publisher: tells the WalStorage what this pod's sidecar holds. Best effort, debounced and bounded: without
 * the API server the sidecar works on, and the status is right soon after its return (R9).
 *
 * | field | bound |
 * |---|---|
 * | `pods[name]`, manager `pod-<uid>` | 256 KiB ÷ pods, as the answer to the own PATCH tells; 16 KiB until then |
 */
import type { Logger } from 'pino';
import { applyStatus, PublishError, type PublisherSettings } from './api-server.ts';
import { applyBody, buildPodStatus, shareBytes } from './pod-status.ts';
import type { StatusReport } from './report.ts';
import { PublishSchedule } from './schedule.ts';

const lookIntervalMs = 500;

export interface PublisherOptions {
  readonly settings: PublisherSettings;
  /** What to publish. Called twice a second while all is quiet: cheap. */
  readonly report: () => StatusReport;
  readonly logger: Pick<Logger, 'debug' | 'info' | 'warn'>;
}

export class StatusPublisher {
  readonly #options: PublisherOptions;
  readonly #schedule = new PublishSchedule();
  #timer: NodeJS.Timeout | undefined;
  #isSending = false;
  #isFailing = false;
  #podCount: number | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Begins to publish in the background. */
  start(): void {
    this.#timer = setInterval(() => void this.look(performance.now()), lookIntervalMs);
    this.#timer.unref();
    void this.look(performance.now());
  }

  /** Ends it; a request under way is left to itself. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** What changed just now is published within 2 s, if the API server takes it. */
  hasten(): void {
    this.#schedule.hasten(performance.now());
  }

  /** Publishes if that is due at `nowMs` of a clock that never goes back. Never rejects. */
  async look(nowMs: number): Promise<void> {
    if (this.#isSending || !this.#schedule.isLookDue(nowMs)) return;
    this.#isSending = true;
    try {
      await this.#publishIfDue(nowMs);
    } catch (error) {
      this.#schedule.failed(nowMs, error instanceof PublishError ? error.retryAfterMs : 0, Math.random());
      const message = 'the status could not be published; the log is served all the same';
      this.#options.logger[this.#isFailing ? 'debug' : 'warn']({ err: error }, message);
      this.#isFailing = true;
    } finally {
      this.#isSending = false;
    }
  }

  async #publishIfDue(nowMs: number): Promise<void> {
    const { settings, report } = this.#options;
    const found = report();
    const entry = buildPodStatus(settings.identity, found, shareBytes(this.#podCount));
    const content = JSON.stringify(entry);
    if (!this.#schedule.isDue(nowMs, content)) return;
    const podCount = await applyStatus(settings, applyBody(settings.identity, entry, new Date()));
    this.#podCount = podCount ?? this.#podCount;
    this.#schedule.succeeded(nowMs, content, found.ready);
    if (this.#isFailing) this.#options.logger.info('the status is published again');
    this.#isFailing = false;
  }
}
