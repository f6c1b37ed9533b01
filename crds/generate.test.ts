import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { typesOf } from './generate.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const crd = readFileSync(here('walstorage.yaml'), 'utf8');

function check(crdFile: string): { status: number | null; stderr: string } {
  const args = [here('generate.ts'), '--check', crdFile, here('walstorage.generated.ts')];
  return spawnSync(process.execPath, args, { encoding: 'utf8' });
}

test('the types are those of the CRD, and npm run check looks', () => {
  const { status, stderr } = check(here('walstorage.yaml'));
  assert.equal(status, 0, stderr);
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(readFileSync(here('../package.json'), 'utf8'));
  assert.match(scripts['check'] ?? '', /node crds\/generate\.ts --check/);
});

test('a planted change in the CRD fails the check, with the command to type', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'walstorage-crd-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const planted = join(directory, 'walstorage.yaml');
  writeFileSync(planted, crd.replace('[Always, Periodic, Never]', '[Always, Periodic, Never, Sometimes]'));
  const { status, stderr } = check(planted);
  assert.equal(status, 1);
  assert.match(stderr, /run `npm run generate` and commit the result/);
});

test('quantities are numbers or strings, required fields are required, a shared schema is one type', async () => {
  const types = await typesOf(crd);
  assert.match(types, /memoryFlushSize\?: number \| string;/);
  assert.match(types, /\n {2}wal: WalSpec;\n {2}viper\?: ComponentSpec;\n {2}lsm\?: ComponentSpec;/);
  assert.match(types, /apiVersion: 'wal\.proximadb\.io\/v1alpha1';/);
});
