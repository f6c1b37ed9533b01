/** The sidecar as its HTTP server shows it, from the moment it listens: parts appear as they are started. */
import type { Assignment, Component, ManagedUrl } from './assignment/assignment.ts';
import type { AssignmentService } from './assignment/service.ts';
import type { Configuration } from './config/configuration.ts';
import type { ConfigurationInForce } from './config/in-force.ts';
import { walHoldings } from './holdings.ts';
import type { Check } from './http/health.ts';
import { type Counters, readinessChecks, type SidecarView, startupChecks, type UrlView } from './http/view.ts';
import type { SocketServer } from './server/server.ts';
import type { AddedUrlReport } from './status/report.ts';
import type { WalEngine } from './wal/engine.ts';

/** What is running so far. */
export interface RunningParts {
  readonly urls: ReadonlyMap<Component, readonly ManagedUrl[]>;
  assignments: AssignmentService | undefined;
  engine: WalEngine | undefined;
  server: SocketServer | undefined;
}

export interface RunningViewOptions {
  readonly version: string;
  readonly socketPath: string;
  readonly configurationFile: string;
  readonly inForce: ConfigurationInForce;
  /** URLs of the newest configuration that wait for a restart. */
  readonly added: () => readonly AddedUrlReport[];
  readonly parts: RunningParts;
}

export class RunningView implements SidecarView {
  readonly version: string;
  readonly startedAt = new Date();
  readonly socketPath: string;
  readonly configurationFile: string;
  readonly #options: RunningViewOptions;

  constructor(options: RunningViewOptions) {
    this.#options = options;
    this.version = options.version;
    this.socketPath = options.socketPath;
    this.configurationFile = options.configurationFile;
  }

  startup(): Check[] {
    return startupChecks(this.#managedUrls(), this.#options.parts.server !== undefined);
  }

  readiness(): Check[] {
    return readinessChecks(this.#managedUrls(), this.#options.parts.server !== undefined);
  }

  configHash(): string {
    return this.#options.inForce.hash;
  }

  configError(): string {
    return this.#options.inForce.error;
  }

  pendingKeys(): readonly string[] {
    return this.#options.inForce.pendingKeys;
  }

  configuration(): Configuration {
    return this.#options.inForce.configuration;
  }

  urls(): UrlView[] {
    const { assignments, engine, urls } = this.#options.parts;
    const wal = assignments === undefined || engine === undefined ? [] : walHoldings(engine, assignments);
    const shownUrls = [...urls].flatMap(([component, list]) => {
      const counts = component === 'wal' ? wal : (assignments?.statistics(component) ?? []);
      return list.map(({ id, index, reason, state, url }): UrlView => {
        const { collections = 0, bytes = 0 } = counts[index] ?? {};
        const shown = { component, index, url, state, reason, id, collections, bytes };
        if (component !== 'wal') return shown;
        const { files = 0, journalBytes = 0, memoryBytes = 0 } = wal[index] ?? {};
        return { ...shown, files, journalBytes, memoryBytes };
      });
    });
    return [...shownUrls, ...this.#addedUrls()];
  }

  removedUrls(): { component: Component; id: string; url: string }[] {
    const { assignments } = this.#options.parts;
    if (assignments === undefined) return [];
    return [...assignments.components()].flatMap((component) =>
      assignments.known(component).removedUrls.map(({ id, url }) => ({ component, id, url })),
    );
  }

  findings(): { component: Component; finding: string }[] {
    const { assignments, engine } = this.#options.parts;
    if (assignments === undefined) return [];
    const found = [...assignments.components()].flatMap((component) =>
      assignments.findings(component).map((finding) => ({ component, finding })),
    );
    for (const { collection, damage } of engine?.damages() ?? []) {
      found.push({ component: 'wal', finding: `${JSON.stringify(collection)} is damaged: ${damage}` });
    }
    return found;
  }

  assignments(component: Component): Iterable<Assignment> {
    const { assignments, urls } = this.#options.parts;
    return urls.has(component) ? (assignments?.list(component) ?? []) : [];
  }

  counters(): Counters {
    const { server } = this.#options.parts;
    return {
      connections: server?.connectionCount ?? 0,
      connectionsReceived: server?.counters.connectionsReceived ?? 0,
      connectionsRejected: server?.counters.connectionsRejected ?? 0,
      commands: server?.counters.commandsProcessed ?? 0,
      receivedBytes: server?.counters.inputBytes ?? 0,
    };
  }

  /** Behind the others of their component; their place in its list is known only after a restart. */
  #addedUrls(): UrlView[] {
    const { added, parts } = this.#options;
    const counts = new Map<Component, number>();
    return added().map(({ component, url, reason }): UrlView => {
      const before = counts.get(component) ?? parts.urls.get(component)?.length ?? 0;
      counts.set(component, before + 1);
      return {
        component,
        index: before,
        url: url.url,
        state: 'Pending',
        reason,
        id: undefined,
        collections: 0,
        bytes: 0,
      };
    });
  }

  #managedUrls(): ManagedUrl[] {
    return [...this.#options.parts.urls.values()].flat();
  }
}
