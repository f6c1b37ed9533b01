/**
 * A running sidecar: storages, assignments, the engine, the socket and HTTP servers and the status publisher, started in the order in
 * which they need each other and ended in the reverse one.
 */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import type { Component, ManagedUrl } from './assignment/assignment.ts';
import { AssignmentService } from './assignment/service.ts';
import type { Configuration } from './config/configuration.ts';
import { ConfigurationInForce } from './config/in-force.ts';
import type { StorageUrl } from './config/storage-url.ts';
import { Credentials, type CredentialsUrl, unservedReason } from './credentials/credentials.ts';
import { WalError } from './errors.ts';
import { addressOf, closeServer } from './http/listen.ts';
import { serveHttp } from './http/server.ts';
import { thresholdBytesMax } from './memory.ts';
import { addedReason, mountProblem } from './mounts.ts';
import { refuseNetwork } from './network-use.ts';
import { Reload } from './reload.ts';
import { createServer } from './server/server.ts';
import { prepareSocketPath } from './server/socket-path.ts';
import { publisherSettings } from './status/api-server.ts';
import { reportHoldings } from './status/holdings.ts';
import { StatusPublisher } from './status/publisher.ts';
import type { AddedUrlReport, StatusReport } from './status/report.ts';
import { DiskFileSystem } from './storage/disk.ts';
import { openFileStorage } from './storage/file.ts';
import type { Storage } from './storage/storage.ts';
import { type RunningParts, RunningView } from './view.ts';
import { SystemClock } from './wal/clock.ts';
import { WalEngine } from './wal/engine.ts';

const { version } = packageJson;

/** A lock that another process holds is tried so long: it may be ending (E28). */
const lockWaitMs = 5_000;

export interface SidecarOptions {
  readonly configuration: Configuration;
  readonly configurationFile: string;
  /** Of that file's text. */
  readonly configHash: string;
  readonly socketPath: string;
  /** HOST:PORT */
  readonly http: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #parts: RunningParts;
  readonly #inForce: ConfigurationInForce;
  readonly #reload: Reload;
  readonly #credentials: Credentials;
  #http: Server | undefined;
  #publisher: StatusPublisher | undefined;

  constructor(options: SidecarOptions) {
    this.#options = options;
    const urls = [...options.configuration.components].map(([component, { urls: configured }]) => {
      return [component, configured.map((url, index) => this.#manage(component, url, index))] as const;
    });
    this.#parts = { urls: new Map(urls), assignments: undefined, engine: undefined, server: undefined };
    const { configHash: hash, configuration, configurationFile: file, environment, logger } = options;
    const waiting = urls.flatMap(([, managed]) => managed.filter(({ state }) => state === 'Pending'));
    const waitingUrls = waiting.map(({ url }) => url);
    const inForce = new ConfigurationInForce({
      configuration,
      hash,
      waitingUrls,
      thresholdBytesMax: thresholdBytesMax(process.constrainedMemory()),
    });
    this.#inForce = inForce;
    const apply = (changed: Configuration): void => this.#apply(changed);
    const onTaken = (): void => this.#publisher?.hasten();
    this.#credentials = new Credentials(credentialsUrls(configuration, this.#parts.urls), logger);
    this.#reload = new Reload({ file, hash, environment, inForce, apply, onTaken, logger });
  }

  /** HOST:PORT where HTTP listens, once it does. */
  get httpAddress(): string {
    return this.#http === undefined ? '' : addressOf(this.#http);
  }

  /** Resolves when the socket accepts connections. Rejects when it can't be served at all; `close` cleans up then, too. */
  async start(): Promise<void> {
    const { logger, socketPath } = this.#options;
    // Before anything is touched: a second sidecar by mistake should learn of it at once.
    await prepareSocketPath(socketPath);
    this.#http = await this.#serveHttp();
    await this.#credentials.start();
    const parts = this.#parts;
    parts.assignments = await this.#openAssignments();
    parts.engine = await WalEngine.open({
      urls: parts.urls.get('wal') ?? [],
      configuration: this.#options.configuration.wal,
      assignments: parts.assignments,
      clock: new SystemClock(),
      logger,
    });
    const { assignments, engine: wal } = parts;
    parts.server = await createServer({ wal, assignments, socketPath, logger, version });
    for (const { component, url, state, reason } of [...parts.urls.values()].flat()) {
      if (state !== 'Available') logger.warn({ component, url, state, reason }, 'a storage URL does not work');
    }
    const collections = countCollections(assignments);
    logger.info({ socket: socketPath, http: this.httpAddress, version, collections }, 'serving');
    this.#publish(wal, assignments);
    await this.#reload.start();
  }

  /** Reads the configuration file again now. Does nothing before the sidecar serves: then it is read anyway. */
  async reload(): Promise<void> {
    if (this.#parts.server !== undefined) await this.#reload.now();
  }

  /** Ends in good order: what was received is answered first (E24). */
  async close(): Promise<void> {
    const { assignments, engine, server, urls } = this.#parts;
    this.#publisher?.close();
    this.#reload.close();
    this.#credentials.close();
    await server?.close();
    await engine?.close();
    assignments?.close();
    if (this.#http !== undefined) await closeServer(this.#http);
    for (const { storage } of [...urls.values()].flat()) {
      await storage?.unlock();
      await storage?.close();
    }
  }

  async #serveHttp(): Promise<Server> {
    const { configurationFile, environment, http, socketPath } = this.#options;
    const shown = { inForce: this.#inForce, configurationFile, socketPath, version };
    const view = new RunningView({ ...shown, added: () => this.#added(), parts: this.#parts });
    return serveHttp({ address: http, isPod: environment['POD_NAME'] !== undefined, view });
  }

  /** Opens and locks every URL. Rejects, naming the holder, when another process has one of them. */
  async #openAssignments(): Promise<AssignmentService> {
    const { configuration, environment, logger } = this.#options;
    const walStorages = new Set(this.#parts.urls.get('wal')?.map(({ storage }) => storage));
    const locked: WalError[] = [];
    const components = new Map(
      [...this.#parts.urls].map(([component, urls]) => {
        const strategy = configuration.components.get(component)?.distributionStrategy ?? 'RoundRobin';
        return [component, { urls, strategy }] as const;
      }),
    );
    const assignments = await AssignmentService.open({
      components,
      lock: async (storage) => {
        if (walStorages.has(storage)) await refuseNetwork(storage.url, { environment, logger });
        await lock(storage, locked);
      },
      clock: () => new Date(),
      newId: () => randomBytes(16).toString('hex'),
      logger,
    });
    if (locked[0] === undefined) return assignments;
    assignments.close();
    throw locked[0];
  }

  /** In a pod the WalStorage is told what the sidecar holds; outside there is nobody to tell. */
  #publish(engine: WalEngine, assignments: AssignmentService): void {
    const { environment, logger } = this.#options;
    const settings = publisherSettings(environment);
    if (settings === undefined) return;
    const inForce = this.#inForce;
    const report = (): StatusReport => reportHoldings({ engine, assignments, inForce, added: this.#added() });
    this.#publisher = new StatusPublisher({ settings, report, logger });
    this.#publisher.start();
  }

  /** Gives the running parts what is hot of a new configuration. */
  #apply({ components, wal }: Configuration): void {
    const { assignments, engine } = this.#parts;
    engine?.reconfigure(wal);
    for (const component of assignments?.components() ?? []) {
      const strategy = components.get(component)?.distributionStrategy;
      if (strategy !== undefined) assignments?.setStrategy(component, strategy);
    }
  }

  #added(): AddedUrlReport[] {
    return this.#inForce.addedUrls.map(({ component, url }) => {
      return { component, url, reason: addedReason(url.scheme, url.path, this.#options.environment) };
    });
  }

  #manage(component: Component, { scheme, url, path }: StorageUrl, index: number): ManagedUrl {
    const managed = { component, index, url, id: undefined };
    if (scheme !== 'file') {
      return { ...managed, storage: undefined, state: 'Unavailable', reason: unservedReason(scheme) };
    }
    const storage = openFileStorage(url, path, new DiskFileSystem());
    const missingMount = mountProblem(path, this.#options.environment);
    if (missingMount !== undefined) return { ...managed, storage, state: 'Pending', reason: missingMount };
    return { ...managed, storage, state: 'Recovering', reason: '' };
  }
}

/** The URLs whose credentials lie in a directory. */
function credentialsUrls({ components, urlOptions }: Configuration, managed: RunningParts['urls']): CredentialsUrl[] {
  return Array.from(components).flatMap(([component, { urls }]) =>
    urls.flatMap(({ scheme, written }, index): CredentialsUrl[] => {
      const [directory, url] = [urlOptions.get(written)?.credentialsDir, managed.get(component)?.[index]];
      return scheme === 'file' || directory === undefined || url === undefined
        ? []
        : [{ managed: url, scheme, directory }];
    }),
  );
}

/** How many collections were found, by component. */
function countCollections(assignments: AssignmentService): Partial<Record<Component, number>> {
  return Object.fromEntries(
    Array.from(assignments.components(), (component) => [component, [...assignments.list(component)].length]),
  );
}

async function lock(storage: Storage, locked: WalError[]): Promise<void> {
  try {
    await storage.lock(`walstorage sidecar on ${hostname()}`, lockWaitMs);
  } catch (error) {
    if (error instanceof WalError) locked.push(error);
    throw error;
  }
}
