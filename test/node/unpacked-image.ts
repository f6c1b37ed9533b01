/** Our image on its own, unpacked from its archive, and run by runc as any runtime runs it: as its user, with a root that is read-only. */
import { chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child, run } from '../cluster/child.ts';
import type { Image } from '../cluster/images.ts';

/** What the image says of itself: a part of its configuration. */
interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly WorkingDir: string;
  readonly Labels: Readonly<Record<string, string>>;
}

export class UnpackedImage {
  readonly directory: string;
  /** Its files. */
  readonly root: string;
  readonly config: ImageConfig;
  /** Of its layers, as they are once pulled. */
  readonly bytes: number;

  private constructor(directory: string, config: ImageConfig, bytes: number) {
    this.directory = directory;
    this.root = join(directory, 'rootfs');
    this.config = config;
    this.bytes = bytes;
  }

  static async unpack(image: Image): Promise<UnpackedImage> {
    const directory = await mkdtemp(join(tmpdir(), 'walstorage-image-'));
    const root = join(directory, 'rootfs');
    await mkdir(root);
    await run('tar', ['-C', directory, '-xf', image.archive]);
    const [manifest] = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8'));
    const layers: readonly string[] = manifest.Layers;
    let bytes = 0;
    for (const layer of layers) {
      bytes += (await stat(join(directory, layer))).size;
      await run('tar', ['-C', root, '-xf', join(directory, layer)]);
    }
    const { config } = JSON.parse(await readFile(join(directory, manifest.Config), 'utf8'));
    return new UnpackedImage(directory, config, bytes);
  }

  /** A directory of the image's user that the container sees at the same path. */
  async makeData(): Promise<string> {
    const path = join(this.directory, 'data');
    await mkdir(path);
    await chown(path, this.#ids[0], this.#ids[1]);
    return path;
  }

  /** Starts the image's command with arguments, in this machine's network, with `data` writable and nothing else. */
  async start(args: readonly string[], data: string): Promise<Child> {
    const specification = this.#specification(args, data);
    await writeFile(join(this.directory, 'config.json'), JSON.stringify(specification));
    const flags = ['--root', join(this.directory, 'runc'), 'run', '--bundle', this.directory, this.#name];
    return new Child('runc', 'runc', flags, { logFile: join(this.directory, 'output') });
  }

  async remove(): Promise<void> {
    await run('runc', ['--root', join(this.directory, 'runc'), 'delete', '--force', this.#name]);
    await rm(this.directory, { recursive: true });
  }

  get #name(): string {
    return this.directory.slice(this.directory.lastIndexOf('/') + 1);
  }

  get #ids(): readonly [number, number] {
    const [uid = Number.NaN, gid = Number.NaN] = this.config.User.split(':').map(Number);
    return [uid, gid];
  }

  #specification(args: readonly string[], data: string): object {
    const [uid, gid] = this.#ids;
    const { Env: env, Entrypoint: entrypoint, WorkingDir: cwd } = this.config;
    const noPrivilege = { capabilities: {}, noNewPrivileges: true };
    return {
      ociVersion: '1.0.2',
      process: { user: { uid, gid }, args: [...entrypoint, ...args], env, cwd, ...noPrivilege },
      root: { path: 'rootfs', readonly: true },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc' },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
        { destination: data, type: 'bind', source: data, options: ['bind', 'rw'] },
      ],
      linux: { namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
    };
  }
}
