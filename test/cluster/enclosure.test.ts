import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { program, root, testNeeding } from '../requirement.ts';
import { until } from '../running-sidecar.ts';
import { Enclosure } from './enclosure.ts';
import { processesIn } from './processes.ts';

const needs = [root, program('ip', ['-V'], 'iproute2')];
const options = { timeout: 60_000 };

/** Makes an enclosure with a process in it, prints where they are, and stays. */
const maker = `
import { Enclosure } from ${JSON.stringify(new URL('enclosure.ts', import.meta.url).href)};
const enclosure = await Enclosure.make();
void enclosure.run('sleep', '3600').catch(() => undefined);
const running = async () => (await enclosure.run('sh', '-c', 'cat /proc/*/comm')).includes('sleep');
while (!(await running()));
console.log(JSON.stringify({ directory: enclosure.directory, network: await enclosure.run('readlink', '/proc/self/ns/net') }));
setInterval(() => undefined, 60_000);
`;

testNeeding(needs, 'two enclosures have networks of their own, and stop without a trace', options, async () => {
  const [one, other] = await Promise.all([Enclosure.make(), Enclosure.make()]);
  const [network, others] = await Promise.all([one, other].map((each) => each.run('readlink', '/proc/self/ns/net')));
  assert.notEqual(network, others);
  await Promise.all([one.stop(), other.stop()]);
  for (const { directory, cgroup } of [one, other]) {
    assert.ok(!existsSync(directory));
    assert.ok(!existsSync(`/sys/fs/cgroup/memory${cgroup.path}`) && !existsSync(`/sys/fs/cgroup${cgroup.path}`));
  }
});

testNeeding(needs, 'what a killed test leaves ends with it, and its files go at the next start', options, async () => {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', maker], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { promise, resolve } = Promise.withResolvers<string>();
  createInterface({ input: child.stdout }).once('line', resolve);
  const { directory, network }: { directory: string; network: string } = JSON.parse(await promise);
  assert.ok(processesIn(network.trim()).length > 0);
  child.kill('SIGKILL');
  await until('the kernel has ended all of it', () => processesIn(network.trim()).length === 0);
  assert.ok(existsSync(directory));
  await (await Enclosure.make()).stop();
  assert.ok(!existsSync(directory));
});
