/**
 * A real node of a control plane in an enclosure: containerd and kubelet run containers, kube-proxy makes Services work, CoreDNS
 * finds them by name. All of it ends with the enclosure.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { kubeconfigFile, nodeName } from './certificates.ts';
import { Child } from './child.ts';
import type { ControlPlane } from './control-plane.ts';
import { type Enclosure, nodeAddress, podRange } from './enclosure.ts';
import { type Image, pauseImage, pauseName } from './images.ts';
import { type NodeProgram, nodeProgramDirectory } from './programs.ts';

const startTimeoutMs = 120_000;
const pollMs = 100;

/** Where Debian puts the programs that give pods their network. */
const cniDirectory = '/usr/lib/cni';

type RunningProgram = NodeProgram | 'containerd';

export class Node {
  readonly #plane: ControlPlane;
  readonly #enclosure: Enclosure;
  readonly #programs: string;
  readonly #children = new Map<RunningProgram, Child>();

  private constructor(plane: ControlPlane, enclosure: Enclosure, programs: string) {
    this.#plane = plane;
    this.#enclosure = enclosure;
    this.#programs = programs;
  }

  /**
   * Joins a node to the control plane, which runs in that enclosure: resolves when it is Ready.
   * @param images those that its containers may name
   */
  static async start(plane: ControlPlane, enclosure: Enclosure, images: readonly Image[]): Promise<Node> {
    const node = new Node(plane, enclosure, await nodeProgramDirectory());
    await node.#writeFiles();
    node.#startContainerd();
    await node.#until('containerd answers', async () => succeeds(node.ctr('version')));
    for (const image of [await pauseImage(), ...images]) await node.loadImage(image);
    await node.startKubelet();
    node.#spawn('kube-proxy', [`--config=${enclosure.directory}/kube-proxy.json`, `--hostname-override=${nodeName}`]);
    node.#spawn('coredns', [`-conf=${enclosure.directory}/Corefile`]);
    await node.#until('the node is Ready', () => node.isReady());
    return node;
  }

  /** Whether the API server holds it for Ready. */
  async isReady(): Promise<boolean> {
    const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
    const status = await this.#plane.kubectl(['get', 'node', nodeName, '-o', path]).catch(() => '');
    return status === 'True';
  }

  /** Runs containerd's own client on the images and containers of Kubernetes; resolves with its standard output. */
  async ctr(...args: readonly string[]): Promise<string> {
    return this.#enclosure.run('ctr', '--address', this.#socket, '--namespace', 'k8s.io', ...args);
  }

  /** Makes an image known under its name. */
  async loadImage(image: Image): Promise<void> {
    await this.ctr('images', 'import', image.archive);
  }

  /** Ends the kubelet as a crash does; containers go on. */
  async stopKubelet(): Promise<void> {
    await this.#kill('kubelet');
  }

  /** Resolves when the kubelet answers. */
  async startKubelet(): Promise<void> {
    const { directory } = this.#enclosure;
    this.#spawn('kubelet', [
      `--config=${directory}/kubelet.json`,
      `--kubeconfig=${kubeconfigFile(this.#plane.directory, 'kubelet')}`,
      `--hostname-override=${nodeName}`,
      `--node-ip=${nodeAddress}`,
      `--root-dir=${directory}/kubelet`,
      `--cert-dir=${directory}/kubelet-certificates`,
    ]);
    const healthz = `/api/v1/nodes/${nodeName}/proxy/healthz`;
    await this.#until('the kubelet answers', async () => succeeds(this.#plane.kubectl(['get', '--raw', healthz])));
  }

  /** Ends containerd as a crash does, and starts it again; containers go on meanwhile. Resolves when it answers. */
  async restartContainerd(): Promise<void> {
    await this.#kill('containerd');
    this.#startContainerd();
    await this.#until('containerd answers again', async () => succeeds(this.ctr('version')));
  }

  /**
   * Ends a container's main program by SIGKILL, as the system does when memory is short.
   * @param namespace the pod's; without it those of all namespaces that bear the name
   */
  async killContainer(pod: string, container: string, namespace?: string): Promise<void> {
    const inNamespace = namespace === undefined ? {} : { 'pod.namespace': namespace };
    const labels = { 'pod.name': pod, 'container.name': container, ...inNamespace };
    const filter = Object.entries(labels)
      .map(([name, value]) => `labels."io.kubernetes.${name}"==${value}`)
      .join(',');
    const made = (await this.ctr('containers', 'list', '--quiet', filter)).split('\n').filter(Boolean);
    const running = (await this.ctr('tasks', 'list')).split('\n').filter((line) => line.includes('RUNNING'));
    const ids = made.filter((id) => running.some((line) => line.startsWith(id)));
    if (ids.length === 0) throw new Error(`the pod ${pod} has no running container ${container}`);
    for (const id of ids) await this.ctr('tasks', 'kill', '--signal', 'SIGKILL', id);
  }

  /** The last lines that a program wrote: for the message of a test that fails. */
  lastLines(program: RunningProgram, count = 20): string {
    return this.#children.get(program)?.lastLines(count) ?? '';
  }

  /** Ends its programs; what they made ends with the enclosure. */
  async stop(): Promise<void> {
    await Promise.all([...this.#children.keys()].map((name) => this.#kill(name)));
  }

  get #socket(): string {
    return join(this.#enclosure.directory, 'containerd.sock');
  }

  #startContainerd(): void {
    this.#spawn('containerd', [`--config=${this.#enclosure.directory}/containerd.toml`], '');
  }

  #spawn(name: RunningProgram, args: readonly string[], directory = this.#programs): void {
    const [nsenter, words] = this.#enclosure.inside(join(directory, name), args);
    const logFile = join(this.#enclosure.directory, `${name}.log`);
    this.#children.set(name, new Child(name, nsenter, words, { logFile }));
  }

  /** Kills the program itself, which nsenter waits for: when this resolves its ports and locks are free. */
  async #kill(name: RunningProgram): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined || !child.running) return;
    const entered = childrenOf(child.pid);
    if (entered.length === 0) child.signal('SIGKILL');
    for (const pid of entered) process.kill(pid, 'SIGKILL');
    await child.ended;
    this.#children.delete(name);
  }

  async #writeFiles(): Promise<void> {
    const { directory, cgroup } = this.#enclosure;
    for (const name of ['cni', 'kubelet', 'logs']) await this.#enclosure.makeDirectory(name);
    await writeFile(join(directory, 'containerd.toml'), containerdConfiguration(directory));
    await writeFile(join(directory, 'cni', 'bridge.conflist'), JSON.stringify(podNetwork(directory)));
    await writeFile(join(directory, 'resolv.conf'), `nameserver ${nodeAddress}\n`);
    const kubelet = kubeletConfiguration(directory, this.#plane.directory, cgroup.path);
    await writeFile(join(directory, 'kubelet.json'), JSON.stringify(kubelet));
    const proxy = proxyConfiguration(kubeconfigFile(this.#plane.directory, 'kube-proxy'));
    await writeFile(join(directory, 'kube-proxy.json'), JSON.stringify(proxy));
    await writeFile(join(directory, 'Corefile'), dnsConfiguration(this.#plane.kubeconfig));
  }

  async #until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + startTimeoutMs;
    while (!(await isTrue())) {
      const dead = [...this.#children.values()].find((child) => !child.running);
      if (dead !== undefined) throw new Error(`${dead.name} has ended:\n${dead.lastLines()}`);
      if (performance.now() > deadlineMs) {
        const logs = [...this.#children.values()].map((child) => `${child.name}:\n${child.lastLines()}`);
        throw new Error(`in ${startTimeoutMs / 1000} s it never came to this: ${what}\n${logs.join('\n')}`);
      }
      await setTimeout(pollMs);
    }
  }
}

async function succeeds(action: Promise<unknown>): Promise<boolean> {
  return action.then(
    () => true,
    () => false,
  );
}

function childrenOf(pid: number | undefined): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function containerdConfiguration(directory: string): string {
  const plugin = '[plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${directory}/containerd"
state = "${directory}/containerd-state"
[grpc]
address = "${directory}/containerd.sock"
${plugin}]
sandbox_image = "${pauseName}"
disable_apparmor = true
# Without CAP_SYS_RESOURCE nobody may lower the score.
restrict_oom_score_adj = true
${plugin}.cni]
bin_dir = "${cniDirectory}"
conf_dir = "${directory}/cni"
${plugin}.containerd]
default_runtime_name = "runc"
${plugin}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
${plugin}.containerd.runtimes.runc.options]
SystemdCgroup = false
`;
}

function podNetwork(directory: string): object {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet: podRange }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: join(directory, 'pod-addresses'),
  };
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipam };
  return { cniVersion: '0.4.0', name: 'pods', plugins: [bridge] };
}

function kubeletConfiguration(directory: string, certificates: string, cgroupRoot: string): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: nodeAddress,
    containerRuntimeEndpoint: `unix://${directory}/containerd.sock`,
    volumePluginDir: join(directory, 'volume-plugins'),
    podLogsDir: join(directory, 'logs'),
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: false },
      x509: { clientCAFile: join(certificates, 'ca.crt') },
    },
    authorization: { mode: 'AlwaysAllow' },
    tlsCertFile: join(certificates, 'kubelet.crt'),
    tlsPrivateKeyFile: join(certificates, 'kubelet.key'),
    clusterDomain: 'cluster.local',
    clusterDNS: [nodeAddress],
    resolvConf: join(directory, 'resolv.conf'),
    cgroupDriver: 'cgroupfs',
    cgroupRoot,
    enforceNodeAllocatable: ['pods'],
    failCgroupV1: false,
    failSwapOn: false,
    makeIPTablesUtilChains: false,
    // Others use this machine too: only a disk that is really full shall end pods.
    evictionHard: {
      'memory.available': '100Mi',
      'nodefs.available': '1%',
      'imagefs.available': '1%',
      'nodefs.inodesFree': '1%',
    },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    nodeStatusUpdateFrequency: '2s',
    serializeImagePulls: false,
    // What crashes is started again after 2 s at most, else after up to 5 minutes.
    crashLoopBackOff: { maxContainerRestartPeriod: '2s' },
  };
}

function proxyConfiguration(kubeconfig: string): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig },
    mode: 'nftables',
    nftables: { masqueradeAll: true },
    clusterCIDR: podRange,
    metricsBindAddress: '127.0.0.1:10249',
    healthzBindAddress: '127.0.0.1:10256',
    // These limits belong to the whole machine: they are left alone.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  };
}

function dnsConfiguration(kubeconfig: string): string {
  return `.:53 {
  bind ${nodeAddress}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfig}
    ttl 0
  }
}
`;
}
