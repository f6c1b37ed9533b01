/** The command as a person types it: its help, and what becomes of a mistyped one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('main.ts', import.meta.url));

/** Where a configuration is needed, none that is there. */
const env = { ...process.env, WALSTORAGE_CONFIG: '/nonexistent/walstorage.toml' };
const type = (...words: readonly string[]) =>
  spawnSync(process.execPath, [command, ...words], { encoding: 'utf8', env });

for (const name of ['sidecar', 'operator', 'verify', 'simulate', 'append', 'read', 'tail']) {
  test(`${name} --help tells each exit status, and each default once`, () => {
    const { status, stdout } = type(name, '--help');
    assert.equal(status, 0);
    assert.match(stdout, /^Exit status: 0 .*, 2 .*\.$/m);
    assert.doesNotMatch(stdout, /\(default: [^)]*\)\s+\(default/);
  });

  test(`a wrong option of ${name} ends with 2 and is named`, () => {
    const { status, stderr, stdout } = type(name, '--no-such-option');
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^error: unknown option '--no-such-option'\n\(add --help for what it takes\)\n$/);
  });
}
