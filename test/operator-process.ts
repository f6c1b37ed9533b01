/** `walstorage operator` as a process of its own: one replica, as a container in a pod of that name would be. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from './cluster/child.ts';
import type { ControlPlane } from './cluster/control-plane.ts';

const commandFile = fileURLToPath(new URL('../sidecar/cli/main.ts', import.meta.url));

export interface OperatorProcessOptions {
  /** Where its Lease is, and all that it watches. */
  readonly namespace: string;
  readonly podName: string;
  /** Beside those that every one has. */
  readonly flags?: readonly string[];
}

/** Starts one. Its log is a file of the control plane's directory. */
export function startOperator(plane: ControlPlane, options: OperatorProcessOptions): Child {
  const { namespace, podName, flags = [] } = options;
  const common = ['--kubeconfig', plane.kubeconfig, '--http', '127.0.0.1:0', '--namespace', namespace];
  const logFile = join(plane.directory, `${namespace}-${podName}.log`);
  const environment = { ...process.env, POD_NAMESPACE: namespace, POD_NAME: podName };
  return new Child(podName, process.execPath, [commandFile, 'operator', ...common, ...flags], { logFile, environment });
}
