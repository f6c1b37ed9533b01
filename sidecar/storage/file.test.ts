import { openFileStorage } from './file.ts';
import { SimulatedFileSystem } from './simulated.ts';
import { run } from './storage.suite.ts';

run('simulated', (context) => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const open = () => openFileStorage('file:///some/where', '/some/where', fileSystem);
  const [storage, rival] = [open(), open()];
  context.after(() => Promise.all([storage.close(), rival.close()]));
  return Promise.resolve({ storage, rival });
});

run('simulated, shuffled', (context) => {
  const fileSystem = new SimulatedFileSystem({ seed: Date.now(), shuffled: true });
  const open = () => openFileStorage('file:///some/where', '/some/where', fileSystem);
  const [storage, rival] = [open(), open()];
  context.after(() => Promise.all([storage.close(), rival.close()]));
  return Promise.resolve({ storage, rival });
});
