import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { test } from 'node:test';
import { asWalError, errorCodes, isNoSpace, systemCode, WalError } from './errors.ts';

test('docs/errors.md explains exactly the codes of the table, in its order', async () => {
  const page = await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| `([A-Z]+)` \|/gm)].map(([, code]) => code);
  assert.deepEqual(documented, Object.keys(errorCodes));
});

test('an error that has a code of the table keeps it; any other gets the code of its context and stays the cause', () => {
  const full = new WalError('NOSPACE', 'file:///d1 is full');
  assert.equal(asWalError(full, 'UNAVAILABLE', 'append'), full);
  const broken = Object.assign(new Error('disk'), { code: 'EIO' });
  const wrapped = asWalError(broken, 'UNAVAILABLE', 'append');
  assert.deepEqual([wrapped.code, wrapped.message, wrapped.cause], ['UNAVAILABLE', 'append: disk', broken]);
  assert.equal(systemCode(broken), 'EIO');
  assert.equal(systemCode(full.message), undefined);
});

test('a quota that is used up counts as no room, although Node names it by number only', () => {
  const errno = -constants.errno.EDQUOT;
  const error = Object.assign(new Error(`Unknown system error ${errno}, write`), {
    errno,
    code: `Unknown system error ${errno}`,
  });
  assert.equal(systemCode(error), 'EDQUOT');
  assert.ok(isNoSpace(error));
});
