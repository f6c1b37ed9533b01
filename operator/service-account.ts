/**
 * The API server as a pod reaches it: by the environment, and by the token and authority that are mounted. In the place
 * of the client library's KubeConfig, which can do the same: importing it takes 60 MB more and 300 ms
 * (docs/adr/0006).
 */
import { readFile } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import type { RequestOptions } from 'node:https';
import { join } from 'node:path';
import type { Cluster } from '@kubernetes/client-node';

export type AuthorizedOptions = RequestOptions & { headers: OutgoingHttpHeaders };

/** Where the API server is, and who we are: what is needed of a KubeConfig. */
export interface ClusterConfig {
  getCurrentCluster(): Cluster | null;
  /** Adds authority and credentials to a request. */
  applyToHTTPSOptions(options: AuthorizedOptions): Promise<void>;
}

const defaultTokenDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';
/** The kubelet replaces both files long before they expire. */
const readAgainMs = 60_000;

interface Files {
  readonly token: string;
  readonly ca: string;
  readonly readMs: number;
}

export class ServiceAccount implements ClusterConfig {
  readonly #server: string;
  readonly #directory: string;
  #files: Promise<Files> | undefined;

  private constructor(server: string, directory: string) {
    this.#server = server;
    this.#directory = directory;
  }

  /** That of the pod with this environment; undefined where this is no pod. */
  static of(environment: NodeJS.ProcessEnv): ServiceAccount | undefined {
    const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
    if (!host) return undefined;
    const server = `https://${host.includes(':') ? `[${host}]` : host}:${port || '443'}`;
    return new ServiceAccount(server, environment['WALSTORAGE_TOKEN_DIR'] || defaultTokenDirectory);
  }

  getCurrentCluster(): Cluster {
    return { name: 'in-cluster', server: this.#server, skipTLSVerify: false };
  }

  /** Rejects where the token or the authority can't be read. */
  async applyToHTTPSOptions(options: AuthorizedOptions): Promise<void> {
    const { token, ca } = await this.#read();
    options.ca = ca;
    options.headers['authorization'] = `Bearer ${token}`;
  }

  async #read(): Promise<Files> {
    const files = await this.#files?.catch(() => undefined);
    if (files !== undefined && performance.now() - files.readMs < readAgainMs) return files;
    this.#files = this.#readNow();
    return await this.#files;
  }

  async #readNow(): Promise<Files> {
    const readMs = performance.now();
    const [token, ca] = await Promise.all(
      ['token', 'ca.crt'].map((file) => readFile(join(this.#directory, file), 'utf8')),
    );
    return { token: token?.trim() ?? '', ca: ca ?? '', readMs };
  }
}
