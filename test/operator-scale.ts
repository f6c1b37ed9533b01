/**
 * An operator as a process, in its pod's ways (one of the replicas, by election), with many WalStorages that change all the
 * time, while its connections are cut and the API server is started again. At the same time a bare writer does the same
 * for a tenth of the changes, on WalStorages that no operator watches: through the same proxy, the same cuts and restart.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ConfigMap, configMaps } from '../operator/kubernetes.ts';
import packageJson from '../package.json' with { type: 'json' };
import { BareWriter, bareUserAgent } from './bare-writer.ts';
import type { AuditEvent } from './cluster/audit.ts';
import type { Child } from './cluster/child.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { Churn, type ShownChange } from './operator-churn.ts';
import { peakResidentBytes, startOperator } from './operator-process.ts';
import { configOf, Proxy, RunningOperator } from './running-operator.ts';

export interface Scale {
  readonly storages: number;
  readonly changes: number;
  readonly perSecond: number;
  /** What Node runs as the operator; the checkout's source where it is absent. */
  readonly program?: string;
  readonly onProgress: (line: string) => void;
}

/** Of the operator, or of the bare writer. */
interface Side {
  readonly changes: readonly ShownChange[];
  /** For each change, the requests that it took. */
  readonly requests: readonly number[];
}

export interface ScaleFigures {
  readonly operator: Side;
  readonly bare: Side;
  readonly peakResidentBytes: number;
  /** What another operator, begun afterwards, found to write. */
  readonly drift: number;
}

/** One of so many WalStorages and changes is the bare writer's. */
const bareShare = 10;
/** Parts of the changes after which all connections of both are cut. */
const cutsAt = [0.2, 0.4, 0.8];
/** And after which the API server is killed and started again. */
const restartAt = 0.6;
const churned = 'churned';

export async function measureScale(scale: Scale): Promise<ScaleFigures> {
  const plane = await ControlPlane.start({ withControllers: false, audit: true });
  const proxy = await Proxy.start(plane);
  try {
    await plane.installCrd();
    const account = { port: Number(new URL(proxy.url).port), directory: await serviceAccount(plane) };
    const { program } = scale;
    const replica = { namespace: churned, podName: 'operator', account };
    const process = startOperator(plane, { ...replica, ...(program === undefined ? {} : { program }) });
    return await measure(plane, proxy, process, scale);
  } finally {
    await proxy.stop();
    await plane.stop();
  }
}

/** Makes one that may do everything. Returns a directory with its token, as a pod has it mounted. */
async function serviceAccount(plane: ControlPlane): Promise<string> {
  const name = 'operator';
  const metadata = { name, namespace: 'default' };
  await plane.apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', ...metadata }],
    },
  );
  const directory = join(plane.directory, 'service-account');
  await mkdir(directory);
  await copyFile(plane.caFile, join(directory, 'ca.crt'));
  await writeFile(join(directory, 'token'), await plane.createServiceAccountToken('default', name));
  return directory;
}

async function measure(plane: ControlPlane, proxy: Proxy, process: Child, scale: Scale): Promise<ScaleFigures> {
  const { storages, changes, perSecond, onProgress } = scale;
  const churn = await Churn.create(plane, churned, storages);
  await churn.settled();
  onProgress(`${storages} WalStorages with 3 pods each`);
  const writer = await bareWriterLike(plane, proxy, churn);
  const bare = await Churn.create(plane, 'bare', Math.ceil(storages / bareShare), (changed) => writer.write(changed));
  try {
    let restarted: Promise<void> = Promise.resolve();
    const cuts = new Set(cutsAt.map((part) => Math.floor(part * changes)));
    await Promise.all([
      churn.run(changes, perSecond, (number) => {
        if (cuts.has(number)) onProgress(`${proxy.cut()} connections cut`);
        if (number === Math.floor(restartAt * changes)) restarted = restartApiServer(plane, onProgress);
      }),
      bare.run(changes / bareShare, perSecond / bareShare),
    ]);
    await restarted;
    const resident = await peakResidentBytes(process.pid ?? 0);
    onProgress(`all changes shown, ${Math.round(resident / 1e6)} MB resident at most`);
    await process.end(10_000);
    const events = await plane.auditEvents();
    return {
      operator: sideOf(churn, events, 'walstorage-operator/'),
      bare: sideOf(bare, events, bareUserAgent),
      peakResidentBytes: resident,
      drift: await driftOf(plane),
    };
  } finally {
    writer.close();
    await Promise.all([churn.end(), bare.end()]);
  }
}

async function bareWriterLike(plane: ControlPlane, proxy: Proxy, churn: Churn): Promise<BareWriter> {
  const model = await churn.namespace.storage('storage-0');
  const configMap = await churn.namespace.find<ConfigMap>(configMaps, 'storage-0-walstorage');
  if (configMap === undefined) throw new Error('the operator made no ConfigMap');
  return new BareWriter(configOf(plane, proxy.url), model, configMap);
}

async function restartApiServer(plane: ControlPlane, onProgress: (line: string) => void): Promise<void> {
  const startMs = performance.now();
  await plane.stopApiServer();
  await plane.startApiServer();
  onProgress(`API server killed, and ready again after ${Math.round(performance.now() - startMs)} ms`);
}

/** What an operator that begins now finds to write. */
async function driftOf(plane: ControlPlane): Promise<number> {
  const other = new RunningOperator(plane, { namespaces: [churned], version: packageJson.version });
  try {
    await other.whenIdle();
    return other.client.writes;
  } finally {
    await other.stop();
  }
}

const unasked: ReadonlySet<string> = new Set(['list', 'watch']);

/** Counts the requests of a client by the change that they followed, of the same WalStorage. */
function sideOf({ shown: changes, namespace }: Churn, events: readonly AuditEvent[], userAgent: string): Side {
  const timesOf = new Map<string, number[]>();
  for (const { stage, verb, objectRef, requestReceivedTimestamp, userAgent: asking = '' } of events) {
    if (stage !== 'ResponseComplete' || unasked.has(verb) || !asking.startsWith(userAgent)) continue;
    // Pods and what the operator makes are named after their WalStorage.
    const name = /^storage-\d+/.exec(objectRef?.name ?? '')?.[0];
    if (name === undefined || objectRef?.namespace !== namespace.name) continue;
    timesOf.set(name, [...(timesOf.get(name) ?? []), Date.parse(requestReceivedTimestamp)]);
  }
  const changesOf = Map.groupBy(changes, ({ name }) => name);
  const requests = [...changesOf].flatMap(([name, own]) => {
    const begun = own.map(({ begunMs }) => begunMs).toSorted((a, b) => a - b);
    const times = timesOf.get(name) ?? [];
    return begun.map((fromMs, index) => {
      const untilMs = begun[index + 1] ?? Number.POSITIVE_INFINITY;
      return times.filter((atMs) => fromMs <= atMs && atMs < untilMs).length;
    });
  });
  return { changes, requests };
}

/** Of these values the one that 99 of 100 don't exceed. */
export function percentile99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1] ?? Number.NaN;
}
