/** `walstorage operator` as a process of its own: one replica, as a container in a pod of that name would be. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from './cluster/child.ts';
import type { ControlPlane } from './cluster/control-plane.ts';

const commandFile = fileURLToPath(new URL('../sidecar/cli/main.ts', import.meta.url));

/** What Node takes as the bound of its heap in a container of 320 MiB, as the chart has it: half of that. */
const heapMebibytes = 160;

export interface OperatorProcessOptions {
  /** Where its Lease is, and all that it watches. */
  readonly namespace: string;
  readonly podName: string;
  /** Beside those that every one has. */
  readonly flags?: readonly string[];
  /** It finds the API server as a pod does, on this port, by `token` and `ca.crt` of this directory. */
  readonly account?: { readonly port: number; readonly directory: string };
  /** What Node runs instead of the checkout's source. */
  readonly program?: string;
}

/** Starts one. Its log is a file of the control plane's directory. */
export function startOperator(plane: ControlPlane, options: OperatorProcessOptions): Child {
  const { namespace, podName, account, program = commandFile, flags = [] } = options;
  const common = ['--http', '127.0.0.1:0', '--namespace', namespace];
  if (account === undefined) common.push('--kubeconfig', plane.kubeconfig);
  const logFile = join(plane.directory, `${namespace}-${podName}.log`);
  const environment = {
    ...process.env,
    POD_NAMESPACE: namespace,
    POD_NAME: podName,
    ...(account === undefined ? {} : inPod(account)),
  };
  const words = [`--max-old-space-size=${heapMebibytes}`, program, 'operator', ...common, ...flags];
  return new Child(podName, process.execPath, words, { logFile, environment });
}

function inPod({ port, directory }: { readonly port: number; readonly directory: string }): NodeJS.ProcessEnv {
  return {
    KUBERNETES_SERVICE_HOST: '127.0.0.1',
    KUBERNETES_SERVICE_PORT: String(port),
    WALSTORAGE_TOKEN_DIR: directory,
  };
}

/** The most memory that a process ever had resident, as Linux knows it. */
export async function peakResidentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
