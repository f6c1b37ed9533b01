/**
 * Volumes of the node for claims: directories of the enclosure as static local volumes, which honour fsGroup, and small ones
 * that a test can fill. The default class binds a claim when its pod is scheduled, as cloud providers' do.
 */
import type { ControlPlane } from './control-plane.ts';
import type { Enclosure } from './enclosure.ts';

/** The default class. */
const defaultClass = 'local';
/** A volume has one of them: ReadWriteOncePod stands alone. */
const accessModes = ['ReadWriteOnce', 'ReadWriteOncePod'] as const;
/** So many volumes of the default class are there at first, of each access mode. */
const firstCount = 40;
/** What claims of the default class may ask for: more than any example does. Nothing is reserved. */
const defaultCapacity = '100Gi';

export class LocalVolumes {
  readonly #plane: ControlPlane;
  readonly #enclosure: Enclosure;
  #made = 0;

  private constructor(plane: ControlPlane, enclosure: Enclosure) {
    this.#plane = plane;
    this.#enclosure = enclosure;
  }

  /** Makes the default class, and volumes of it. */
  static async make(plane: ControlPlane, enclosure: Enclosure): Promise<LocalVolumes> {
    const volumes = new LocalVolumes(plane, enclosure);
    await volumes.#applyClass(defaultClass, { 'storageclass.kubernetes.io/is-default-class': 'true' });
    await volumes.add(firstCount);
    return volumes;
  }

  /** Makes more volumes of the default class, of each access mode. */
  async add(count: number): Promise<void> {
    const paths = [];
    for (let left = count * accessModes.length; left > 0; left--) paths.push(await this.#directory());
    await this.#apply(defaultClass, defaultCapacity, paths);
  }

  /** Makes volumes of a class of their own that hold so many bytes and no more, of each access mode. */
  async addSmall(className: string, count: number, bytes: number): Promise<void> {
    await this.#applyClass(className, {});
    const paths = [];
    for (let left = count * accessModes.length; left > 0; left--) {
      const path = await this.#directory();
      await this.#enclosure.run('mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=755`, 'tmpfs', path);
      paths.push(path);
    }
    await this.#apply(className, String(bytes), paths);
  }

  /** As a new disk it is root's alone, until fsGroup gives it to a pod's group. */
  async #directory(): Promise<string> {
    return this.#enclosure.makeDirectory('volumes', `volume-${++this.#made}`);
  }

  async #applyClass(name: string, annotations: Readonly<Record<string, string>>): Promise<void> {
    await this.#plane.apply({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name, annotations },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'WaitForFirstConsumer',
      allowVolumeExpansion: true,
    });
  }

  async #apply(storageClassName: string, storage: string, paths: readonly string[]): Promise<void> {
    const term = { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] };
    const volumes = paths.map((path, index) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: path.slice(path.lastIndexOf('/') + 1) },
      spec: {
        capacity: { storage },
        accessModes: [accessModes[index % accessModes.length]],
        storageClassName,
        persistentVolumeReclaimPolicy: 'Retain',
        local: { path },
        nodeAffinity: { required: { nodeSelectorTerms: [term] } },
      },
    }));
    await this.#plane.apply(...volumes);
  }
}
