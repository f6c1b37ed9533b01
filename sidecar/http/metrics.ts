/** The sidecar's metrics. Base units; labels are bounded by the configuration: no label holds a collection's name. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { urlStates } from '../assignment/assignment.ts';
import type { Counters, SidecarView, UrlView } from './view.ts';

const prefix = 'proximadb_wal_';

const urlGauges = [
  ['collections', 'collections', 'Collections under the URL'],
  ['live_bytes', 'bytes', 'Encoded bytes of live entries (wal), or bytes in the directories (other components)'],
  ['segments', 'files', 'Segments under the URL'],
  ['journal_bytes', 'journalBytes', 'Bytes of the journal'],
  ['unflushed_bytes', 'memoryBytes', 'Memory of the entries that are in the journal and not yet in a segment'],
] as const satisfies readonly (readonly [string, keyof UrlView, string])[];

const counters = [
  ['connections_received_total', 'connectionsReceived', 'Connections that the socket accepted'],
  ['connections_rejected_total', 'connectionsRejected', 'Connections refused with BUSY'],
  ['commands_total', 'commands', 'Commands carried out'],
  ['received_bytes_total', 'receivedBytes', 'Bytes read from the socket'],
] as const satisfies readonly (readonly [string, keyof Counters, string])[];

/** A registry that reads the sidecar whenever it is asked. Others may add to it. */
export function sidecarMetrics(view: SidecarView): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix });
  const metrics = [
    stateGauge(view),
    ...urlGauges.map(([name, field, help]) => urlGauge(view, name, field, help)),
    ...counters.map(([name, field, help]) => counter(view, name, field, help)),
    gauge('connections', 'Connections to the socket now', () => view.counters().connections),
    gauge('ready', '1 while the socket serves and at least one WAL URL is Available', () => {
      return view.readiness().every((check) => check.ok) ? 1 : 0;
    }),
    buildGauge(view.version),
  ];
  for (const metric of metrics) registry.registerMetric(metric);
  return registry;
}

/** Registered by the caller, not in prom-client's own registry. */
const registers: Registry[] = [];

function stateGauge(view: SidecarView): Gauge {
  return new Gauge({
    name: `${prefix}url_state`,
    help: '1 for the state that the URL is in, 0 for the others',
    labelNames: ['component', 'url', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { component, url, state } of view.urls()) {
        for (const each of urlStates) this.set({ component, url, state: each }, each === state ? 1 : 0);
      }
    },
  });
}

function urlGauge(view: SidecarView, name: string, field: (typeof urlGauges)[number][1], help: string): Gauge {
  return new Gauge({
    name: `${prefix}url_${name}`,
    help,
    labelNames: ['component', 'url'],
    registers,
    collect() {
      this.reset();
      for (const shown of view.urls()) {
        const value = shown[field];
        if (value !== undefined) this.set({ component: shown.component, url: shown.url }, value);
      }
    },
  });
}

function counter(view: SidecarView, name: string, field: keyof Counters, help: string): Counter {
  return new Counter({
    name: `${prefix}${name}`,
    help,
    registers,
    collect() {
      this.reset();
      this.inc(view.counters()[field]);
    },
  });
}

function gauge(name: string, help: string, value: () => number): Gauge {
  return new Gauge({
    name: `${prefix}${name}`,
    help,
    registers,
    collect() {
      this.set(value());
    },
  });
}

function buildGauge(version: string): Gauge {
  const build = new Gauge({
    name: `${prefix}build_info`,
    help: 'The version, as a label',
    labelNames: ['version'],
    registers,
  });
  build.set({ version }, 1);
  return build;
}
