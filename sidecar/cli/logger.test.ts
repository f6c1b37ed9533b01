import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

/** Says something while the one thread that writes has other work, and ends. */
const program = `
  import { pbkdf2 } from 'node:crypto';
  import { flushed, makeLogger } from '${new URL('./logger.ts', import.meta.url).href}';
  const logger = await makeLogger('info');
  pbkdf2('', '', 200_000, 64, 'sha512', () => undefined);
  for (let line = 1; line <= 3; line += 1) logger.info({ line });
  await flushed(logger);
  process.exit();
`;

test('what was logged last is written in order before the process exits', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text).line);
  assert.deepEqual(lines, [1, 2, 3]);
});
