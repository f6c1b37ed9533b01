/**
 * What a change of a WalStorage takes, written without watches, caches or a plan, by server-side apply and each write again until it
 * works: what an operator is compared with.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import type { WalStorageStatus } from '../crds/walstorage.generated.ts';
import { ApiClient } from '../operator/client.ts';
import { configKey } from '../operator/desired.ts';
import {
  apiVersion,
  type ConfigMap,
  configMaps,
  objectPath,
  type WalStorage,
  walStorages,
} from '../operator/kubernetes.ts';
import { type Changed, untilDone } from './operator-churn.ts';

export const bareUserAgent = 'walstorage-bare';

export class BareWriter {
  readonly #client: ApiClient;
  readonly #status: WalStorageStatus;
  readonly #text: string;
  readonly #signal = new AbortController().signal;

  /** What it writes looks like what the operator made of this WalStorage, and its ConfigMap. */
  constructor(config: KubeConfig, storage: WalStorage, configMap: ConfigMap) {
    this.#client = new ApiClient(config, bareUserAgent);
    const { pods: _, ...status } = storage.status ?? {};
    this.#status = status;
    this.#text = configMap.data?.[configKey] ?? '';
  }

  async write(changed: Changed): Promise<void> {
    const { kind, generation: observedGeneration, bytes, podCount, goneUid } = changed;
    if (kind === 'spec') await this.#writeConfigMap(changed);
    if (goneUid !== undefined) await this.#writeStatus(changed, `pod-${goneUid}`, undefined);
    await this.#writeStatus(changed, 'bare', { ...this.#status, observedGeneration, bytes, podCount });
  }

  close(): void {
    this.#client.close();
  }

  async #writeConfigMap({ name: storage, namespace, generation }: Changed): Promise<void> {
    const name = `${storage}-walstorage`;
    const data = { [configKey]: `${this.#text}# ${generation}\n` };
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data };
    await this.#apply(objectPath(configMaps, namespace, name), 'bare', object);
  }

  async #writeStatus(
    { name, namespace }: Changed,
    manager: string,
    status: WalStorageStatus | undefined,
  ): Promise<void> {
    const object = { apiVersion, kind: 'WalStorage', metadata: { name, namespace }, status };
    await this.#apply(objectPath(walStorages, namespace, name, 'status'), manager, object);
  }

  async #apply(path: string, manager: string, object: object): Promise<void> {
    await untilDone(() => this.#client.apply(path, manager, object, this.#signal));
  }
}
