import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiskFileSystem } from './disk.ts';
import { openFileStorage } from './file.ts';
import { SimulatedFileSystem } from './simulated.ts';
import { run } from './storage.suite.ts';

run('disk', async (context) => {
  const parent = await mkdtemp(join(tmpdir(), 'walstorage-'));
  const open = () => openFileStorage('file:///some/where', `${parent}/some/where`, new DiskFileSystem());
  const [storage, rival] = [open(), open()];
  context.after(async () => {
    await Promise.all([storage.close(), rival.close()]);
    await rm(parent, { recursive: true });
  });
  return { storage, rival };
});

for (const shuffled of [false, true]) {
  const seed = Date.now();
  run(shuffled ? `simulated, shuffled by seed ${seed}` : 'simulated', async (context) => {
    const fileSystem = new SimulatedFileSystem({ seed, shuffled });
    const open = () => openFileStorage('file:///some/where', '/some/where', fileSystem);
    const [storage, rival] = [open(), open()];
    context.after(() => Promise.all([storage.close(), rival.close()]));
    return { storage, rival };
  });
}
