/**
 * A running sidecar: storages, assignments, the engine, the socket and HTTP servers and the status publisher, started in the order in
 * which they need each other and ended in the reverse one.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import type { Component, ManagedUrl } from './assignment/assignment.ts';
import { AssignmentService } from './assignment/service.ts';
import type { Configuration } from './config/configuration.ts';
import type { StorageUrl } from './config/storage-url.ts';
import { WalError } from './errors.ts';
import { createServer, type SocketServer } from './server/server.ts';
import { prepareSocketPath } from './server/socket-path.ts';
import { publisherSettings } from './status/api-server.ts';
import { reportHoldings } from './status/holdings.ts';
import { StatusPublisher } from './status/publisher.ts';
import type { StatusReport } from './status/report.ts';
import { DiskFileSystem } from './storage/disk.ts';
import { openFileStorage } from './storage/file.ts';
import type { Storage } from './storage/storage.ts';
import { SystemClock } from './wal/clock.ts';
import { WalEngine } from './wal/engine.ts';

/** A lock that another process holds is tried so long: it may be ending (E28). */
const lockWaitMs = 5_000;

export interface SidecarOptions {
  readonly configuration: Configuration;
  /** Of the configuration file's text. */
  readonly configHash: string;
  readonly socketPath: string;
  /** HOST:PORT */
  readonly http: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #urls = new Map<Component, ManagedUrl[]>();
  #assignments: AssignmentService | undefined;
  #engine: WalEngine | undefined;
  #server: SocketServer | undefined;
  #publisher: StatusPublisher | undefined;

  constructor(options: SidecarOptions) {
    this.#options = options;
  }

  /** Resolves when the socket accepts connections. Rejects when it can't be served at all; `close` cleans up then, too. */
  async start(): Promise<void> {
    const { configuration, logger, socketPath } = this.#options;
    // Before anything is touched: a second sidecar by mistake should learn of it at once.
    await prepareSocketPath(socketPath);
    const locked: WalError[] = [];
    const components = new Map(
      [...configuration.components].map(([component, { urls, distributionStrategy }]) => {
        const managed = urls.map((url, index) => this.#manage(component, url, index));
        this.#urls.set(component, managed);
        return [component, { urls: managed, strategy: distributionStrategy }] as const;
      }),
    );
    this.#assignments = await AssignmentService.open({
      components,
      lock: async (storage) => lock(storage, locked),
      clock: () => new Date(),
      newId: () => randomBytes(16).toString('hex'),
      logger,
    });
    if (locked[0] !== undefined) throw locked[0];
    this.#engine = await WalEngine.open({
      urls: this.#urls.get('wal') ?? [],
      configuration: configuration.wal,
      assignments: this.#assignments,
      clock: new SystemClock(),
      logger,
    });
    this.#server = await createServer({
      wal: this.#engine,
      assignments: this.#assignments,
      socketPath,
      logger,
      version: packageJson.version,
    });
    logger.info({ socket: socketPath, version: packageJson.version }, 'serving');
    this.#publish(this.#engine, this.#assignments);
  }

  /** Ends in good order: what was received is answered first (E24). */
  async close(): Promise<void> {
    this.#publisher?.close();
    await this.#server?.close();
    await this.#engine?.close();
    this.#assignments?.close();
    for (const { storage } of [...this.#urls.values()].flat()) {
      await storage?.unlock();
      await storage?.close();
    }
  }

  /** In a pod the WalStorage is told what the sidecar holds; outside there is nobody to tell. */
  #publish(engine: WalEngine, assignments: AssignmentService): void {
    const { configHash, configuration, environment, logger } = this.#options;
    const settings = publisherSettings(environment);
    if (settings === undefined) return;
    const { urls } = configuration.wal;
    const report = (): StatusReport => reportHoldings({ engine, assignments, urls, configHash });
    this.#publisher = new StatusPublisher({ settings, report, logger });
    this.#publisher.start();
  }

  #manage(component: Component, { scheme, url, path }: StorageUrl, index: number): ManagedUrl {
    const managed = { component, index, url, id: undefined };
    if (scheme !== 'file') {
      const reason = `${scheme}:// comes with a later version; use file:// URLs until then`;
      return { ...managed, storage: undefined, state: 'Unavailable', reason };
    }
    const storage = openFileStorage(url, path, new DiskFileSystem());
    const missingMount = mountProblem(path, this.#options.environment['WALSTORAGE_MOUNTS']);
    if (missingMount !== undefined) return { ...managed, storage, state: 'Pending', reason: missingMount };
    return { ...managed, storage, state: 'Recovering', reason: '' };
  }
}

/** O5: in a pod a directory is used only below one of its mounts, and a mount path is never made. */
function mountProblem(path: string, mounts: string | undefined): string | undefined {
  if (mounts === undefined) return undefined;
  const mount = mounts.split(':').find((candidate) => path === candidate || path.startsWith(`${candidate}/`));
  if (mount === undefined) return 'the pod has no mount for it: replace the pod';
  return existsSync(mount) ? undefined : `the pod's mount ${mount} is not there: replace the pod`;
}

async function lock(storage: Storage, locked: WalError[]): Promise<void> {
  try {
    await storage.lock(`walstorage sidecar on ${hostname()}`, lockWaitMs);
  } catch (error) {
    if (error instanceof WalError) locked.push(error);
    throw error;
  }
}
