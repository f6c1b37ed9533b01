/** What a test of faults has around it: a workplace, sidecars in it, mounts; all gone at its end, however it ends. */
import { test } from 'node:test';
import { run } from './cluster/child.ts';
import { type Requirement, testNeeding } from './requirement.ts';
import { asMap, ErrorReply, type Reply, type RespClient } from './resp-client.ts';
import { RunningSidecar, type SidecarStart, Workplace } from './running-sidecar.ts';

const testLimitMs = 120_000;

export class Scene {
  readonly workplace: Workplace;
  readonly #sidecars: RunningSidecar[] = [];
  readonly #mounts: string[] = [];

  constructor(workplace: Workplace) {
    this.workplace = workplace;
  }

  /** A sidecar that serves, and a client of it. Collections are spread round-robin unless `configuration` says otherwise. */
  async serve(start: Partial<SidecarStart> = {}): Promise<{ sidecar: RunningSidecar; client: RespClient }> {
    const sidecar = await this.spawn(start);
    await sidecar.serving();
    return { sidecar, client: await sidecar.connect() };
  }

  /** A sidecar that was started. */
  async spawn(start: Partial<SidecarStart> = {}): Promise<RunningSidecar> {
    const { workplace } = this;
    const sidecar = await RunningSidecar.spawn({
      workplace,
      configuration: this.configuration(['d1', 'd2']),
      ...start,
    });
    this.#sidecars.push(sidecar);
    return sidecar;
  }

  configuration(urls: readonly string[], keys: Readonly<Record<string, string | number>> = {}): string {
    return this.workplace.configuration(urls, { distribution_strategy: 'RoundRobin', ...keys });
  }

  /** Runs `mount` with these arguments; the last one is the directory. */
  async mount(...args: readonly string[]): Promise<void> {
    await run('mount', args);
    this.#mounts.push(args.at(-1) ?? '');
  }

  async unmount(): Promise<void> {
    for (const directory of this.#mounts.splice(0).toReversed()) await run('umount', [directory]);
  }

  async end(): Promise<void> {
    await Promise.all(this.#sidecars.map((sidecar) => sidecar.kill()));
    await this.unmount();
    await this.workplace.end();
  }
}

/** A test with a scene of its own. */
export function testFault(name: string, body: (scene: Scene) => Promise<void>): void {
  void test(name, { timeout: testLimitMs }, () => play(body));
}

/** One that needs more than npm and Go can fetch. */
export function testFaultNeeding(
  needs: readonly Requirement[],
  name: string,
  body: (scene: Scene) => Promise<void>,
): void {
  testNeeding(needs, name, { timeout: testLimitMs }, () => play(body));
}

async function play(body: (scene: Scene) => Promise<void>): Promise<void> {
  const scene = new Scene(await Workplace.make());
  try {
    await body(scene);
  } finally {
    await scene.end();
  }
}

/** Appends one entry; resolves with its sequence. */
export async function append(client: RespClient, collection: string, payload: string | Buffer): Promise<Reply> {
  return client.send('WAL.APPEND', collection, '*', 'INSERT', 'k', payload);
}

/** The directory in which the collection's URL lies, as the last part of its path. */
export async function homeOf(client: RespClient, collection: string): Promise<string> {
  const statistics = asMap(await client.send('WAL.STAT', collection));
  return statistics.get('url')?.split('/').at(-1) ?? '';
}

/** Appends an entry to a new collection; resolves when one lies in each of the directories, with their names by directory. */
export async function oneInEach(client: RespClient, directories: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let number = 1; found.size < directories.length; number++) {
    const collection = `collection-${number}`;
    await append(client, collection, 'first');
    const home = await homeOf(client, collection);
    if (!found.has(home)) found.set(home, collection);
  }
  return found;
}

/** The error with which the request is refused; throws when it is not. */
export async function refusal(reply: Promise<Reply>): Promise<string> {
  try {
    throw new Error(`it was answered with ${String(await reply)} instead of an error`);
  } catch (error) {
    if (error instanceof ErrorReply) return error.message;
    throw error;
  }
}
