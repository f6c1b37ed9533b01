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
import { type SimulatedOperation, SimulatedSteps } from './simulated-steps.ts';
import type { StoredEntry, StoredReader } from './storage.ts';

export interface SimulationOptions {
  /** Decides the order of calls under way, and what the call at `crashAt` still did. */
  readonly seed: number;
  /** Calls under way at the same time end in any order. */
  readonly shuffled?: boolean;
  /** Room for file content, in whole blocks of 4 KiB; without it there is no bound. */
  readonly capacityBytes?: number;
}

const unboundedBytes = 2 ** 50;

export class SimulatedFileSystem implements FileSystem {
  /** Room for file content; may be changed at any time. */
  capacityBytes: number;
  readonly #options: SimulationOptions;
  readonly #root: SimulatedDirectory;
  readonly #steps: SimulatedSteps;
  readonly #locks = new Map<SimulatedFile, string>();

  /** An empty file system, but for its root; `root` is for `crash` and `kill`. */
  constructor(options: SimulationOptions, root = new SimulatedDirectory()) {
    this.#options = options;
    this.#root = root;
    this.#steps = new SimulatedSteps(new Random(options.seed), options.shuffled ?? false);
    this.capacityBytes = options.capacityBytes ?? unboundedBytes;
  }

  /** The number of primitive calls carried out. */
  get operations(): number {
    return this.#steps.count;
  }

  /** Resolves when the machine has stopped. */
  get stopped(): Promise<void> {
    return this.#steps.stopped;
  }

  /** The machine stops in the call that makes `operations` reach `operation`. */
  crashAt(operation: number): void {
    this.#steps.stopAt(operation);
  }

  /** The next call of this operation on a path that `pattern` matches fails with `code`; several wait for their turn. */
  failNext(operation: SimulatedOperation, pattern: RegExp, code: string): void {
    this.#steps.failNext({ operation, pattern }, code);
  }

  /** Calls of this operation on matching paths wait until the returned function is called. */
  hold(operation: SimulatedOperation, pattern: RegExp): () => void {
    return this.#steps.hold({ operation, pattern });
  }

  /** Stops the machine, if it has not stopped; the disk as it may be afterwards, another one for each seed. */
  crash(seed: number): SimulatedFileSystem {
    this.#steps.stop();
    return this.#successor(seed, this.#root.afterCrash(new Random(seed)));
  }

  /** Ends the process alone: the same files under a new one. Not to be crashed or killed again: the new one is. */
  kill(seed: number): SimulatedFileSystem {
    this.#steps.stop();
    return this.#successor(seed, this.#root);
  }

  async list(directory: string): Promise<StoredEntry[]> {
    return await this.#steps.take('list', directory, () => {
      const found = this.#directory('scandir', directory);
      return found.names.map((name) => ({ name, kind: found.get(name)?.kind ?? 'other' }));
    });
  }

  async stat(path: string): Promise<FileStatus> {
    return await this.#steps.take('stat', path, () => {
      const node = this.#node('stat', path);
      return { kind: node.kind, bytes: node.kind === 'file' ? node.length : 0 };
    });
  }

  async createDirectory(directory: string): Promise<void> {
    await this.#steps.take('mkdir', directory, () => {
      const { parent, name } = this.#vacancy('mkdir', directory);
      parent.add(name, new SimulatedDirectory());
    });
  }

  async removeDirectory(directory: string): Promise<void> {
    await this.#steps.take('rmdir', directory, () => {
      const node = this.#directory('rmdir', directory);
      if (node.names.length > 0) throw systemError('ENOTEMPTY', 'rmdir', directory);
      const { parent, name } = this.#place('rmdir', directory);
      parent.remove(name, node);
    });
  }

  async open(path: string): Promise<StoredReader> {
    const file = await this.#steps.take('open', path, () => this.#file('open', path));
    return {
      bytes: file.length,
      read: (offset, length) => this.#steps.take('read', path, () => file.read(offset, length)),
      close: () => this.#steps.take('close', path, () => undefined),
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

  prepareAppendFiles(): void {
    // Nothing is slow the first time.
  }

  async createAppendFile(path: string): Promise<AppendFile> {
    const file = await this.#steps.take('create', path, () => {
      const { parent, name } = this.#vacancy('open', path);
      const created = new SimulatedFile();
      parent.add(name, created);
      return created;
    });
    const onFault = () => file.failSync();
    return {
      write: (parts, position, synced) => this.#write(path, file, parts, position, synced),
      sync: () => this.#steps.take('sync', path, () => file.sync(), { onFault }),
      truncate: (bytes) => this.#steps.take('truncate', path, () => file.truncate(bytes)),
      close: () => this.#steps.take('close', path, () => undefined),
    };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#steps.take('rename', from, () => {
      const node = this.#node('rename', from);
      const source = this.#place('rename', from);
      const target = this.#place('rename', to);
      if (source.parent !== target.parent) throw systemError('EXDEV', 'rename', from);
      if (target.parent.get(target.name)?.kind === 'directory') throw systemError('EISDIR', 'rename', to);
      source.parent.rename(source.name, target.name, node);
    });
  }

  async unlink(path: string): Promise<void> {
    await this.#steps.take('unlink', path, () => {
      const file = this.#file('unlink', path);
      const { parent, name } = this.#place('unlink', path);
      parent.remove(name, file);
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.#steps.take('syncDirectory', directory, () => this.#directory('open', directory).sync());
  }

  async tryLock(path: string, text: string): Promise<FileLock | LockHolder> {
    return await this.#steps.take('lock', path, () => {
      const { parent, name } = this.#place('open', path);
      if (!parent.get(name)) parent.add(name, new SimulatedFile());
      const file = this.#file('open', path);
      const holder = this.#locks.get(file);
      if (holder !== undefined) return { held: false, text: holder };
      this.#locks.set(file, text);
      file.truncate(0);
      file.write(Buffer.from(text), 0);
      const release = () => this.#steps.take('lock', path, () => void this.#locks.delete(file));
      return { held: true, release };
    });
  }

  async space(directory: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return await this.#steps.take('space', directory, () => {
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
      const fault = synced ? this.#steps.takeFault('sync', path) : undefined;
      if (fault) {
        file.failSync();
        return { bytes: 0, error: fault };
      }
      if (synced) file.syncRange(position, position + bytes);
      return { bytes, error: bytes < totalBytes ? systemError('ENOSPC', 'write', path) : undefined };
    };
    try {
      return await this.#steps.take('write', path, effect, { onCrash: () => void writeWhatFits() });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return { bytes: 0, error };
    }
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
