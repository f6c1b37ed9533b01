/** `npm run cluster`: a local cluster with a log in it, until Ctrl-C. */
import { once } from 'node:events';
import { isAbsolute } from 'node:path';
import { end, endingSignal } from '../../sidecar/cli/ending.ts';
import { LocalCluster } from './local-cluster.ts';

/** As many collections and bytes as a small database has: 11 and some 3 MB. */
const collections = Array.from({ length: 11 }, (_, index) => `collection_${index + 1}`);
const entries = 47;
const payloadBytes = 6144;

const stopped = Promise.race([endingSignal(), once(process, 'SIGHUP')]);

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  const starting = LocalCluster.start((step) => say(`${step} …`));
  const cluster = await Promise.race([starting, stopped.then(() => undefined)]);
  if (cluster === undefined) {
    say('Ending …');
    await starting.then(
      (started) => started.stop(),
      () => undefined,
    );
    return;
  }
  try {
    await Promise.race([stopped, use(cluster)]);
    say('\nEnding …');
  } finally {
    await cluster.stop();
  }
}

/** Fills the log, shows the cluster, and rejects when one of its processes ends. */
async function use(cluster: LocalCluster): Promise<never> {
  say(`Appending ${entries} entries of ${payloadBytes} bytes to each of ${collections.length} collections …`);
  await cluster.append(collections, entries, payloadBytes);
  await cluster.status('all collections are reported', ({ status }) => status?.collections === collections.length);
  await show(cluster);
  throw new Error(await cluster.somethingEnded());
}

async function show(cluster: LocalCluster): Promise<void> {
  const { kubeconfig, kubectlCommand } = cluster.controlPlane;
  const alias = isAbsolute(kubectlCommand) ? `  alias kubectl='${kubectlCommand}'\n` : '';
  say(`
$ kubectl get walstorage
${await cluster.controlPlane.kubectl(['get', 'walstorage'])}
In another terminal:

  export KUBECONFIG=${kubeconfig}
${alias}  kubectl get walstorage -o wide
  kubectl describe walstorage ${cluster.name}
  kubectl get configmap ${cluster.name}-walstorage -o yaml
  npm run --silent walstorage -- append orders 'first entry' --socket ${cluster.socket}
  redis-cli -s ${cluster.socket} WAL.LIST 0

Status page of the sidecar: http://${cluster.http}/
Logs: ${cluster.directory}/sidecar.log and operator.log
Ctrl-C ends it all and removes what it made.`);
}

async function run(): Promise<number> {
  try {
    await main();
    return 0;
  } catch (error) {
    process.stderr.write(`npm run cluster: ${error instanceof Error ? error.message : String(error)}\n`);
    if (error instanceof Error && error.cause instanceof Error) process.stderr.write(`${error.cause.message}\n`);
    return 1;
  }
}

await end(run());
