/**
 * A file system in memory whose machine can lose power.
 *
 * Every primitive call is one step, carried out whole in a turn of its own of the event loop; of several calls under
 * way the next is drawn by seed if `shuffled`, else the oldest. `crashAt` stops the machine in a step, which then has
 * happened or not, or (a synced write) has not reached the disk. A stopped file system answers nothing any more:
 * its calls stay pending for ever, as those of a dead process.
 *
 * `crash` gives the disk as it may be after the power cut (see simulated-node.ts for what is kept and lost), `kill`
 * the file system as the next process finds it when only the process died: nothing lost, and still nothing synced.
 */
import {
  type AppendFile,
  type FileLock,
  type FileStatus,
  type FileSystem,
  type LockHolder,
  type NewFile,
  systemError,
  type WriteOutcome,
} from './filesystem.ts';
import { Random } from './random.ts';
import { blockBytes, SimulatedDirectory, SimulatedFile, type SimulatedNode } from './simulated-node.ts';
import type { StoredEntry, StoredReader } from './storage.ts';

export type SimulatedOperation =
  | 'list'
  | 'stat'
  | 'mkdir'
  | 'rmdir'
  | 'open'
  | 'read'
  | 'create'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'close'
  | 'rename'
  | 'unlink'
  | 'syncDirectory'
  | 'lock'
  | 'space';

export interface SimulationOptions {
  /** Decides the order of calls under way, and what the call at `crashAt` still did. */
  readonly seed: number;
  /** Calls under way at the same time end in any order. */
  readonly shuffled?: boolean;
  /** Room for file content, in whole blocks of 4 KiB; without it there is no bound. */
  readonly capacityBytes?: number;
}

/** One call under way. */
interface Step {
  readonly operation: SimulatedOperation;
  readonly path: string;
  /** Carries it out, and settles its promise. */
  readonly run: () => void;
  /** What it may have done when the machine stops in it. */
  readonly interrupt: (random: Random) => void;
}

/** How a call ends other than by its effect. */
interface Deviations {
  readonly onFault?: () => void;
  readonly onCrash?: () => void;
}

interface Selection {
  readonly operation: SimulatedOperation;
  readonly pattern: RegExp;
}

const unboundedBytes = 2 ** 50;

export class SimulatedFileSystem implements FileSystem {
  /** Resolves when the machine has stopped. */
  readonly stopped: Promise<void>;
  /** Room for file content; may be changed at any time. */
  capacityBytes: number;
  readonly #options: SimulationOptions;
  readonly #root: SimulatedDirectory;
  readonly #random: Random;
  readonly #locks = new Map<SimulatedFile, string>();
  readonly #faults: (Selection & { readonly code: string })[] = [];
  readonly #holds = new Set<Selection>();
  readonly #steps: Step[] = [];
  #turnIsDue = false;
  #operations = 0;
  #crashAt = Number.POSITIVE_INFINITY;
  #isStopped = false;
  #announceStop: () => void;

  /** An empty file system, but for its root; `root` is for `crash` and `kill`. */
  constructor(options: SimulationOptions, root = new SimulatedDirectory()) {
    this.#options = options;
    this.#root = root;
    this.#random = new Random(options.seed);
    this.capacityBytes = options.capacityBytes ?? unboundedBytes;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopped = promise;
    this.#announceStop = resolve;
  }

  /** The number of primitive calls carried out. */
  get operations(): number {
    return this.#operations;
  }

  /** The machine stops in the call that makes `operations` reach `operation`. */
  crashAt(operation: number): void {
    this.#crashAt = operation;
  }

  /** The next call of this operation on a path that `pattern` matches fails with `code`; several wait for their turn. */
  failNext(operation: SimulatedOperation, pattern: RegExp, code: string): void {
    this.#faults.push({ operation, pattern, code });
  }

  /** Calls of this operation on matching paths wait until the returned function is called. */
  hold(operation: SimulatedOperation, pattern: RegExp): () => void {
    const held = { operation, pattern };
    this.#holds.add(held);
    return () => {
      this.#holds.delete(held);
      this.#schedule();
    };
  }

  /** Stops the machine, if it has not stopped; the disk as it may be afterwards, another one for each seed. */
  crash(seed: number): SimulatedFileSystem {
    this.#stop();
    return this.#successor(seed, this.#root.afterCrash(new Random(seed)));
  }

  /** Ends the process alone: the same files under a new one. Not to be crashed or killed again: the new one is. */
  kill(seed: number): SimulatedFileSystem {
    this.#stop();
    return this.#successor(seed, this.#root);
  }

  async list(directory: string): Promise<StoredEntry[]> {
    return await this.#step('list', directory, () => {
      const found = this.#directory('scandir', directory);
      return found.names.map((name) => ({ name, kind: found.get(name)?.kind ?? 'other' }));
    });
  }

  async stat(path: string): Promise<FileStatus> {
    return await this.#step('stat', path, () => {
      const node = this.#node('stat', path);
      return { kind: node.kind, bytes: node.kind === 'file' ? node.length : 0 };
    });
  }

  async createDirectory(directory: string): Promise<void> {
    await this.#step('mkdir', directory, () => {
      const { parent, name } = this.#vacancy('mkdir', directory);
      parent.add(name, new SimulatedDirectory());
    });
  }

  async removeDirectory(directory: string): Promise<void> {
    await this.#step('rmdir', directory, () => {
      const node = this.#directory('rmdir', directory);
      if (node.names.length > 0) throw systemError('ENOTEMPTY', 'rmdir', directory);
      const { parent, name } = this.#place('rmdir', directory);
      parent.remove(name, node);
    });
  }

  async open(path: string): Promise<StoredReader> {
    const file = await this.#step('open', path, () => this.#file('open', path));
    return {
      bytes: file.length,
      read: (offset, length) => this.#step('read', path, () => file.read(offset, length)),
      close: () => this.#step('close', path, () => undefined),
    };
  }

  async create(path: string): Promise<NewFile> {
    const file = await this.createAppendFile(path);
    let position = 0;
    return {
      write: async (parts) => {
        const { bytes, error } = await file.write(parts, position, false);
        position += bytes;
        if (error) throw error;
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  }

  async createAppendFile(path: string): Promise<AppendFile> {
    const file = await this.#step('create', path, () => {
      const { parent, name } = this.#vacancy('open', path);
      const created = new SimulatedFile();
      parent.add(name, created);
      return created;
    });
    const onFault = () => file.failSync();
    return {
      write: (parts, position, synced) => this.#write(path, file, parts, position, synced),
      sync: () => this.#step('sync', path, () => file.sync(), { onFault }),
      truncate: (bytes) => this.#step('truncate', path, () => file.truncate(bytes)),
      close: () => this.#step('close', path, () => undefined),
    };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', from, () => {
      const node = this.#node('rename', from);
      const source = this.#place('rename', from);
      const target = this.#place('rename', to);
      if (source.parent !== target.parent) throw systemError('EXDEV', 'rename', from);
      if (target.parent.get(target.name)?.kind === 'directory') throw systemError('EISDIR', 'rename', to);
      source.parent.rename(source.name, target.name, node);
    });
  }

  async unlink(path: string): Promise<void> {
    await this.#step('unlink', path, () => {
      const file = this.#file('unlink', path);
      const { parent, name } = this.#place('unlink', path);
      parent.remove(name, file);
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.#step('syncDirectory', directory, () => this.#directory('open', directory).sync());
  }

  async tryLock(path: string, text: string): Promise<FileLock | LockHolder> {
    return await this.#step('lock', path, () => {
      const { parent, name } = this.#place('open', path);
      if (!parent.get(name)) parent.add(name, new SimulatedFile());
      const file = this.#file('open', path);
      const holder = this.#locks.get(file);
      if (holder !== undefined) return { held: false, text: holder };
      this.#locks.set(file, text);
      file.truncate(0);
      file.write(Buffer.from(text), 0);
      const release = () => this.#step('lock', path, () => void this.#locks.delete(file));
      return { held: true, release };
    });
  }

  async space(directory: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return await this.#step('space', directory, () => {
      this.#directory('statfs', directory);
      return { freeBytes: this.#freeBytes(), totalBytes: this.capacityBytes };
    });
  }

  /** Nothing: the machine goes on, and other storages may lie on it. */
  async close(): Promise<void> {}

  async #write(
    path: string,
    file: SimulatedFile,
    parts: readonly Uint8Array[],
    position: number,
    synced: boolean,
  ): Promise<WriteOutcome> {
    const totalBytes = parts.reduce((sum, part) => sum + part.length, 0);
    // The parts are read in the step, not at the call: a caller that changes them too early is found out.
    const writeWhatFits = () => {
      const bytes = Math.max(0, Math.min(totalBytes, this.#lastEnd(file) - position));
      file.write(Buffer.concat(parts, bytes), position);
      return bytes;
    };
    const effect = () => {
      const bytes = writeWhatFits();
      const fault = synced ? this.#takeFault('sync', path) : undefined;
      if (fault) {
        file.failSync();
        return { bytes: 0, error: fault };
      }
      if (synced) file.syncRange(position, position + bytes);
      return { bytes, error: bytes < totalBytes ? systemError('ENOSPC', 'write', path) : undefined };
    };
    try {
      return await this.#step('write', path, effect, { onCrash: () => void writeWhatFits() });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return { bytes: 0, error };
    }
  }

  #step<Value>(
    operation: SimulatedOperation,
    path: string,
    effect: () => Value,
    { onFault, onCrash = effect }: Deviations = {},
  ): Promise<Value> {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    const run = () => {
      try {
        const fault = this.#takeFault(operation, path);
        if (fault) {
          onFault?.();
          throw fault;
        }
        resolve(effect());
      } catch (error) {
        reject(error);
      }
    };
    const interrupt = (random: Random) => {
      const outcome = [() => undefined, effect, onCrash][random.below(3)];
      try {
        outcome?.();
      } catch {
        // It failed as it would have anyway, and nobody is there to be told.
      }
    };
    this.#steps.push({ operation, path, run, interrupt });
    this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#turnIsDue || this.#isStopped) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnIsDue = false;
    const step = this.#takeStep();
    if (!step) return;
    this.#operations += 1;
    if (this.#operations >= this.#crashAt) {
      step.interrupt(this.#random);
      this.#stop();
      return;
    }
    step.run();
    this.#schedule();
  }

  #takeStep(): Step | undefined {
    if (this.#isStopped) return undefined;
    const ready = this.#steps.filter(
      (step) => ![...this.#holds].some((held) => matches(held, step.operation, step.path)),
    );
    const step = ready[this.#options.shuffled ? this.#random.below(ready.length) : 0];
    if (step) this.#steps.splice(this.#steps.indexOf(step), 1);
    return step;
  }

  #takeFault(operation: SimulatedOperation, path: string): Error | undefined {
    const index = this.#faults.findIndex((fault) => matches(fault, operation, path));
    const fault = index < 0 ? undefined : this.#faults.splice(index, 1)[0];
    return fault && systemError(fault.code, operation, path);
  }

  #stop(): void {
    this.#isStopped = true;
    this.#steps.length = 0;
    this.#announceStop();
  }

  #successor(seed: number, root: SimulatedDirectory): SimulatedFileSystem {
    return new SimulatedFileSystem({ ...this.#options, seed, capacityBytes: this.capacityBytes }, root);
  }

  /** The offset behind the last byte of `file` for which there is room. */
  #lastEnd(file: SimulatedFile): number {
    return allocatedBytes(file) + Math.floor(this.#freeBytes() / blockBytes) * blockBytes;
  }

  #freeBytes(): number {
    return this.capacityBytes >= unboundedBytes ? unboundedBytes : this.capacityBytes - allocatedBytes(this.#root);
  }

  #node(operation: string, path: string): SimulatedNode {
    let node: SimulatedNode = this.#root;
    for (const name of namesOf(path)) {
      if (node.kind !== 'directory') throw systemError('ENOTDIR', operation, path);
      const next: SimulatedNode | undefined = node.get(name);
      if (!next) throw systemError('ENOENT', operation, path);
      node = next;
    }
    return node;
  }

  #file(operation: string, path: string): SimulatedFile {
    const node = this.#node(operation, path);
    if (node.kind !== 'file') throw systemError('EISDIR', operation, path);
    return node;
  }

  #directory(operation: string, path: string): SimulatedDirectory {
    const node = this.#node(operation, path);
    if (node.kind !== 'directory') throw systemError('ENOTDIR', operation, path);
    return node;
  }

  /** The directory where the last name of `path` belongs. */
  #place(operation: string, path: string): { parent: SimulatedDirectory; name: string } {
    const names = namesOf(path);
    const name = names.pop();
    if (name === undefined) throw systemError('EBUSY', operation, path);
    return { parent: this.#directory(operation, `/${names.join('/')}`), name };
  }

  #vacancy(operation: string, path: string): { parent: SimulatedDirectory; name: string } {
    if (namesOf(path).length === 0) throw systemError('EEXIST', operation, path);
    const place = this.#place(operation, path);
    if (place.parent.get(place.name)) throw systemError('EEXIST', operation, path);
    return place;
  }
}

function matches({ operation, pattern }: Selection, calledOperation: SimulatedOperation, path: string): boolean {
  return operation === calledOperation && pattern.test(path);
}

function namesOf(path: string): string[] {
  return path.split('/').filter(Boolean);
}

/** The bytes of the blocks of a file, or of all files below a directory. */
function allocatedBytes(node: SimulatedNode): number {
  if (node.kind === 'file') return Math.ceil(node.length / blockBytes) * blockBytes;
  return node.names.reduce((sum, name) => {
    const child = node.get(name);
    return child ? sum + allocatedBytes(child) : sum;
  }, 0);
}
