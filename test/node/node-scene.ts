/** Tests on a real node: one cluster for all of a process, made for the first of them. */
import { after, type TestContext } from 'node:test';
import { databaseImage, walstorageImage } from '../cluster/images.ts';
import { RealCluster } from '../cluster/real-cluster.ts';
import { file, program, type Requirement, root, testNeeding } from '../requirement.ts';
import { within } from '../running-sidecar.ts';

/** The first one makes the images and the cluster, and on an empty cache the node's programs. */
const testLimitMs = 900_000;
const waitLimitMs = 120_000;

/** What an image is built with. */
export const imageNeeds: readonly Requirement[] = [
  root,
  program('buildah', ['--version'], 'buildah'),
  program('busybox', ['true'], 'busybox-static'),
];

const nodeNeeds: readonly Requirement[] = [
  ...imageNeeds,
  program('containerd', ['--version'], 'containerd'),
  program('runc', ['--version'], 'runc'),
  program('nft', ['--version'], 'nftables'),
  program('ip', ['-V'], 'iproute2'),
  file('/usr/lib/cni/bridge', 'containernetworking-plugins'),
];

let started: Promise<RealCluster> | undefined;

after(async () => {
  await (await started?.catch(() => undefined))?.stop();
});

/** A test that gets the process's cluster. */
export function testOnNode(name: string, body: (cluster: RealCluster, t: TestContext) => Promise<void>): void {
  testNeeding(nodeNeeds, name, { timeout: testLimitMs }, async (t) => {
    started ??= Promise.all([walstorageImage(), databaseImage()]).then((images) => RealCluster.start(images));
    await body(await started, t);
  });
}

/** Resolves when the condition holds; rejects in two minutes with what was waited for, and what `describe` tells. */
export async function eventually(
  what: string,
  condition: () => Promise<boolean>,
  describe: () => Promise<string> | string = () => '',
): Promise<void> {
  await within(waitLimitMs, what, condition).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${await describe()}`);
  });
}
