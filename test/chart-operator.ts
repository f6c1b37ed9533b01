/**
 * The operator as the installed chart runs it: its Deployment's arguments and environment, and the token of its
 * ServiceAccount, which has the rights that the chart gives and no others. A process, as there is no node.
 */
import { writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Child } from './cluster/child.ts';
import { type ControlPlane, freePort } from './cluster/control-plane.ts';
import type { Release } from './running-chart.ts';
import { eventually } from './running-operator.ts';

const commandFile = fileURLToPath(new URL('../sidecar/cli/main.ts', import.meta.url));
const name = 'walstorage-operator';
const endMs = 10_000;

interface OperatorContainer {
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
}

export class ChartOperator {
  readonly #plane: ControlPlane;
  readonly #release: Release;
  readonly #child: Child;
  readonly #http: string;
  readonly #webhookPort: number;

  private constructor(
    plane: ControlPlane,
    release: Release,
    child: Child,
    ports: { readonly http: number; readonly webhook: number },
  ) {
    this.#plane = plane;
    this.#release = release;
    this.#child = child;
    this.#http = `http://127.0.0.1:${ports.http}`;
    this.#webhookPort = ports.webhook;
  }

  /** Starts it; ready when it says so: it leads or follows, has listed everything, and has a certificate. */
  static async start(plane: ControlPlane, release: Release): Promise<ChartOperator> {
    const path = 'jsonpath={.spec.template.spec.containers[0]}';
    const found = await plane.kubectl(['get', 'deployment', name, '-n', release.namespace, '-o', path]);
    const { args, env }: OperatorContainer = JSON.parse(found);
    const ports = { http: await freePort(), webhook: await freePort() };
    const local = args.map((arg) =>
      arg
        .replace(/^--http=:9465$/, `--http=127.0.0.1:${ports.http}`)
        .replace(/^--webhook=:9443$/, `--webhook=127.0.0.1:${ports.webhook}`),
    );
    // What the kubelet fills in.
    const fields: Readonly<Record<string, string>> = { POD_NAME: `${name}-0`, POD_NAMESPACE: release.namespace };
    const values = env.map((variable) => [variable.name, variable.value ?? fields[variable.name] ?? '']);
    const kubeconfig = await writeKubeconfig(plane, release);
    const child = new Child(name, process.execPath, [commandFile, ...local, '--kubeconfig', kubeconfig], {
      logFile: join(plane.directory, `${release.name}-operator.log`),
      environment: { ...process.env, ...Object.fromEntries(values) },
    });
    const operator = new ChartOperator(plane, release, child, ports);
    await eventually('the operator is ready', () => operator.#isReady()).catch(async (error: unknown) => {
      const lines = child.lastLines();
      await operator.stop();
      throw new Error(`${String(error)}:\n${lines}`);
    });
    return operator;
  }

  async stop(): Promise<void> {
    await this.#child.end(endMs);
  }

  /** Its metrics, as Prometheus reads them. */
  async metrics(): Promise<string> {
    return (await fetch(`${this.#http}/metrics`)).text();
  }

  async #isReady(): Promise<true | undefined> {
    if (!this.#child.running) throw new Error('the operator has ended');
    const answer = await fetch(`${this.#http}/readyz`).catch(() => undefined);
    return answer?.status === 200 || undefined;
  }

  /**
   * Asks the webhook about a pod as the API server does: under the name of its Service, and with the authority that stands in
   * the webhook's configuration. Returns the answer's message; empty where the pod is allowed.
   */
  async review(namespace: string, pod: object): Promise<string> {
    const read = ['get', 'mutatingwebhookconfiguration', name, '-o', 'jsonpath={.webhooks[0].clientConfig.caBundle}'];
    const ca = await eventually('caBundle is set', async () => (await this.#plane.kubectl(read)) || undefined);
    const review = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: {
        uid: 'review',
        namespace,
        operation: 'CREATE',
        kind: { group: '', version: 'v1', kind: 'Pod' },
        object: pod,
      },
    };
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const asked = request({
      host: '127.0.0.1',
      port: this.#webhookPort,
      servername: `${name}.${this.#release.namespace}.svc`,
      path: '/inject',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      ca: Buffer.from(ca, 'base64'),
      agent: false,
    });
    asked.on('response', (response) => {
      text(response).then(resolve, reject);
    });
    asked.on('error', reject);
    asked.end(JSON.stringify(review));
    const answer: { readonly response: { readonly status?: { readonly message?: string } } } = JSON.parse(
      await promise,
    );
    return answer.response.status?.message ?? '';
  }
}

/** A kubeconfig of the operator's ServiceAccount. Returns its path. */
async function writeKubeconfig(plane: ControlPlane, release: Release): Promise<string> {
  const token = await plane.createServiceAccountToken(release.namespace, name);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: plane.server, 'certificate-authority': plane.caFile } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  const file = join(plane.directory, `${release.name}-operator.kubeconfig`);
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}
