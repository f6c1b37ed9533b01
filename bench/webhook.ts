/**
 * The webhook under 100 pods a second, as an operator's process behind a real API server: how long the creation of a pod takes
 * (dry run) with the label and, afterwards, without it, which is all that differs. A labelled pod is sent to the webhook twice.
 * Printed; there is no bar.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiClient } from '../operator/client.ts';
import { collectionPath, pods } from '../operator/kubernetes.ts';
import { issue } from '../operator/webhook/issue.ts';
import { ControlPlane, freePort } from '../test/cluster/control-plane.ts';
import { claim, podOf, specOf } from '../test/injection-fixtures.ts';
import { startOperator } from '../test/operator-process.ts';
import { configOf, eventually, Namespace } from '../test/running-operator.ts';
import { configureWebhook, lifetimes } from '../test/running-webhook.ts';

const perSecond = 100;
const seconds = 20;
const namespaceName = 'pods';

/** Measures and prints; resolves with true. */
export async function benchWebhook(): Promise<boolean> {
  const plane = await ControlPlane.start({ withControllers: false });
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-bench-'));
  try {
    await plane.installCrd();
    const namespace = await Namespace.create(plane, namespaceName);
    await namespace.applyStorage('orders', specOf([claim]));
    namespace.close();
    const address = `127.0.0.1:${await freePort()}`;
    await configureWebhook(plane, address, await certificate(directory));
    const flags = ['--webhook', address, '--image', 'walstorage:bench', '--tls-dir', directory];
    const program = 'dist/sidecar/cli/main.js';
    const operator = startOperator(plane, { namespace: namespaceName, podName: 'operator', program, flags });
    try {
      await measure(plane);
    } finally {
      await operator.kill();
    }
    return true;
  } finally {
    await plane.stop();
    await rm(directory, { recursive: true });
  }
}

/** Puts a certificate for 127.0.0.1 into the directory. Returns its authority, encoded as a webhook's configuration has it. */
async function certificate(directory: string): Promise<string> {
  const { authority, pair } = await issue(['127.0.0.1'], Date.now(), lifetimes);
  await writeFile(join(directory, 'tls.crt'), pair.certificate);
  await writeFile(join(directory, 'tls.key'), pair.key);
  return Buffer.from(authority).toString('base64');
}

async function measure(plane: ControlPlane): Promise<void> {
  const client = new ApiClient(configOf(plane), 'walstorage-bench');
  const { signal } = new AbortController();
  const path = `${collectionPath(pods, namespaceName)}?dryRun=All`;
  const create = async (labels: Record<string, string> | undefined): Promise<number> => {
    const startMs = performance.now();
    const { metadata, spec } = podOf(labels === undefined ? {} : { metadata: { labels } });
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'db-0', ...metadata },
      spec: { ...spec, serviceAccountName: 'db' },
    };
    await client.create(path, pod, signal);
    return performance.now() - startMs;
  };
  try {
    await eventually('the webhook admits pods', () => create(undefined).catch(() => undefined));
    await measureRate('pod with the label', () => create(undefined));
    await measureRate('pod without the label', () => create({}));
  } finally {
    client.close();
  }
}

/** Creates pods at the rate, whether earlier ones are done or not; prints how long each took. */
async function measureRate(what: string, create: () => Promise<number>): Promise<void> {
  const failures = new Map<string, number>();
  const creating: Promise<number | undefined>[] = [];
  const startMs = performance.now();
  for (let number = 0; number < perSecond * seconds; number += 1) {
    await sleep(Math.max(0, startMs + (number / perSecond) * 1000 - performance.now()));
    creating.push(
      create().catch((error: unknown) => {
        failures.set(String(error), (failures.get(String(error)) ?? 0) + 1);
        return undefined;
      }),
    );
  }
  const timesMs = (await Promise.all(creating)).filter((ms) => ms !== undefined).toSorted((a, b) => a - b);
  const at = (part: number): string => `${(timesMs[Math.floor(timesMs.length * part)] ?? 0).toFixed(1)} ms`;
  const load = (loadavg()[0] ?? 0).toFixed(1);
  process.stdout.write(
    `${what.padEnd(22)} ${timesMs.length} at ${perSecond}/s  p50 ${at(0.5)}  p99 ${at(0.99)}  max ${at(1 - 1e-9)}  load ${load}\n`,
  );
  for (const [error, count] of failures) process.stdout.write(`${count} times: ${error}\n`);
}
