import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('npm run cluster shows 11 collections and how to reach them; Ctrl-C ends all of it with exit status 0', async (t) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('main.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = new Promise<number | null>((resolve) => {
    child.once('exit', (status) => resolve(status));
  });
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    // Twice, as it comes from a terminal: npm gets it too, and passes it on.
    if (line.startsWith('Ctrl-C') || line.startsWith('Ending')) child.kill('SIGINT');
  }
  const output = lines.join('\n');
  assert.equal(await ended, 0, output);
  assert.match(output, /^orders +LoadBalanced +2 +1 +1 +11 +3\.\d\d MiB /m);
  const kubeconfig = /export KUBECONFIG=(\S+)/.exec(output)?.[1] ?? '';
  assert.match(kubeconfig, /^\//);
  assert.ok(!existsSync(kubeconfig));
});
