/** What the HTTP server is shown of the sidecar. Every call is cheap, but for `assignments`, which is read page by page. */
import type { Assignment, Component, UrlState } from '../assignment/assignment.ts';
import type { Configuration } from '../config/configuration.ts';
import type { Check, HealthChecks } from './health.ts';

export interface SidecarView extends HealthChecks {
  readonly version: string;
  readonly startedAt: Date;
  readonly socketPath: string;
  readonly configurationFile: string;
  /** As the status shows it. */
  configHash(): string;
  /** Why the newest file is not in force; empty if it holds. */
  configError(): string;
  /** Keys of the newest file that wait for a restart. */
  pendingKeys(): readonly string[];
  configuration(): Configuration;
  /** All components' URLs, in the order of the configuration; then those that were added since the start. */
  urls(): readonly UrlView[];
  /** URLs that a `_url.json` names and that are configured no longer (E26). */
  removedUrls(): readonly { readonly component: Component; readonly id: string; readonly url: string }[];
  /** Sentences about what an administrator should look at. */
  findings(): readonly { readonly component: Component; readonly finding: string }[];
  /** The configured component's assignments; none before it is recovered. */
  assignments(component: Component): Iterable<Assignment>;
  counters(): Counters;
}

export interface UrlView {
  readonly component: Component;
  /** Its place in the component's list, from 0. */
  readonly index: number;
  readonly url: string;
  readonly state: UrlState;
  /** Why it isn't Available; else empty. */
  readonly reason: string;
  /** Of its `_url.json`, once known. */
  readonly id: string | undefined;
  readonly collections: number;
  /** wal: encoded bytes of live entries, unflushed included; others: bytes in its directories. */
  readonly bytes: number;
  /** wal only: segments, the journal's bytes, and unflushed bytes. */
  readonly files?: number;
  readonly journalBytes?: number;
  readonly memoryBytes?: number;
}

/** Since the start, but for `connections`. */
export interface Counters {
  readonly connections: number;
  readonly connectionsReceived: number;
  readonly connectionsRejected: number;
  readonly commands: number;
  readonly receivedBytes: number;
}

/** What health asks of a URL: nothing that would have to be counted. */
type UrlHealth = Pick<UrlView, 'component' | 'url' | 'state' | 'reason'>;

/** `/startupz`: every WAL URL is recovered or was declared something else, and the socket accepts connections. */
export function startupChecks(urls: readonly UrlHealth[], isServing: boolean): Check[] {
  const checks = walUrls(urls).map(({ url, state, reason }) => {
    const ok = state !== 'Recovering';
    return { name: url, ok, message: ok ? reason : `${url} is being recovered.` };
  });
  return [...checks, socketCheck(isServing)];
}

/** `/readyz`: the socket serves, and at least one WAL URL is Available. */
export function readinessChecks(urls: readonly UrlHealth[], isServing: boolean): Check[] {
  const states = walUrls(urls).map(({ url, state, reason }) => `${url} is ${state}. ${reason}`.trim());
  const ok = walUrls(urls).some((url) => url.state === 'Available');
  const available = { name: 'a WAL URL is Available', ok, message: ok ? '' : states.join(' ') };
  return [socketCheck(isServing), available];
}

function walUrls(urls: readonly UrlHealth[]): UrlHealth[] {
  return urls.filter((url) => url.component === 'wal');
}

function socketCheck(isServing: boolean): Check {
  const message = isServing ? '' : 'The socket accepts no connections yet: recovery is under way.';
  return { name: 'socket', ok: isServing, message };
}
