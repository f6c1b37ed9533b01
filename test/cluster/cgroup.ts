/** A control group for a node's pods, in every hierarchy of the machine: one (version 2), or one a controller (version 1). */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const mountPoint = '/sys/fs/cgroup';
/** A process that was killed leaves its group a moment later. */
const removeTimeoutMs = 10_000;
const pollMs = 20;

export class Cgroup {
  /** Its path below the mount point, for the kubelet. */
  readonly path: string;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.path = `/${name}`;
  }

  static async make(name: string): Promise<Cgroup> {
    for (const hierarchy of await hierarchies()) {
      await mkdir(join(hierarchy, name));
      // In version 1 a new group may use no processor and no memory until it is told which.
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        const own = join(hierarchy, name, file);
        if (!existsSync(join(hierarchy, 'cgroup.controllers')) && existsSync(own)) {
          await writeFile(own, await readFile(join(hierarchy, file)));
        }
      }
    }
    return new Cgroup(name);
  }

  /** Removes it and the groups below it, whose processes have ended or are about to. */
  async remove(): Promise<void> {
    const deadlineMs = performance.now() + removeTimeoutMs;
    for (const hierarchy of await hierarchies()) await removeTree(join(hierarchy, this.#name), deadlineMs);
  }
}

/** The names of the groups at the top of any hierarchy. */
export async function cgroupNames(): Promise<string[]> {
  const lists = await Promise.all((await hierarchies()).map(directoriesIn));
  return [...new Set(lists.flat())];
}

async function hierarchies(): Promise<string[]> {
  if (existsSync(join(mountPoint, 'cgroup.controllers'))) return [mountPoint];
  return (await directoriesIn(mountPoint)).map((name) => join(mountPoint, name));
}

async function directoriesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  // Links are second names of the same hierarchy.
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

async function removeTree(directory: string, deadlineMs: number): Promise<void> {
  if (!existsSync(directory)) return;
  for (const name of await directoriesIn(directory)) await removeTree(join(directory, name), deadlineMs);
  for (;;) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await setTimeout(pollMs);
    }
  }
}
