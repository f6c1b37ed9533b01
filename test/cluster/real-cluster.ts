/** A whole cluster in an enclosure: control plane, node, our image. One is shared by all scenarios of a test process. */

import type { RunOptions } from './child.ts';
import { ControlPlane } from './control-plane.ts';
import { Enclosure } from './enclosure.ts';
import type { Image } from './images.ts';
import { Node } from './node.ts';
import { LocalVolumes } from './volumes.ts';

export class RealCluster {
  readonly enclosure: Enclosure;
  readonly controlPlane: ControlPlane;
  readonly node: Node;
  readonly volumes: LocalVolumes;

  private constructor(enclosure: Enclosure, controlPlane: ControlPlane, node: Node, volumes: LocalVolumes) {
    this.enclosure = enclosure;
    this.controlPlane = controlPlane;
    this.node = node;
    this.volumes = volumes;
  }

  /**
   * Starts one: resolves when its node is Ready, and claims of the default class find volumes.
   * @param images those that pods may name
   */
  static async start(images: readonly Image[]): Promise<RealCluster> {
    const enclosure = await Enclosure.make();
    let plane: ControlPlane | undefined;
    try {
      plane = await ControlPlane.start({ withControllers: true, enclosure });
      const node = await Node.start(plane, enclosure, images);
      return new RealCluster(enclosure, plane, node, await LocalVolumes.make(plane, enclosure));
    } catch (error) {
      await plane?.stop();
      await enclosure.stop();
      throw error;
    }
  }

  /** Runs kubectl as the administrator, as `ControlPlane.kubectl` does. */
  async kubectl(args: readonly string[], options: Pick<RunOptions, 'input'> = {}): Promise<string> {
    return this.controlPlane.kubectl(args, options);
  }

  /** Ends everything, containers too, and removes what they left. */
  async stop(): Promise<void> {
    await this.node.stop();
    await this.controlPlane.stop();
    await this.enclosure.stop();
  }
}
