import assert from 'node:assert/strict';
import test from 'node:test';
import { maskUrl } from './problem.ts';
import { parseStorageUrl } from './storage-url.ts';

const environment = {
  PWD: '/home/ada/checkout',
  SLASHED: '/mnt/x/',
  RELATIVE: 'mnt',
  UP: '/a/../b',
  EMPTY: '',
  PCT: 'a%b',
};

function problemsOf(written: string): string {
  const parsed = parseStorageUrl(written, environment);
  return 'problems' in parsed ? parsed.problems.map(({ problem, remedy }) => `${problem}; ${remedy}`).join('\n') : '';
}

const valid: readonly [written: string, url: string, parts: Record<string, string>][] = [
  ['file:///data/wal', 'file:///data/wal', { scheme: 'file', path: '/data/wal' }],
  ['file:///data//wal///', 'file:///data/wal', { scheme: 'file', path: '/data/wal' }],
  ['FILE:///Data', 'file:///Data', { scheme: 'file', path: '/Data' }],
  ['file:///mnt/my disk/größe', 'file:///mnt/my disk/größe', { scheme: 'file', path: '/mnt/my disk/größe' }],
  ['file://${PWD}/data/d1', 'file:///home/ada/checkout/data/d1', { path: '/home/ada/checkout/data/d1' }],
  ['file://${SLASHED}/${RELATIVE}', 'file:///mnt/x/mnt', { path: '/mnt/x/mnt' }],
  ['s3://${RELATIVE}-bucket/a', 's3://mnt-bucket/a', { scheme: 's3', bucket: 'mnt-bucket', path: 'a' }],
  [
    's3://wal-bucket1/proximadb',
    's3://wal-bucket1/proximadb',
    { scheme: 's3', bucket: 'wal-bucket1', path: 'proximadb' },
  ],
  ['s3://wal.bucket', 's3://wal.bucket', { bucket: 'wal.bucket', path: '' }],
  ['s3://wal-bucket1/', 's3://wal-bucket1', { path: '' }],
  ['s3://bucket/tenant@eu/x', 's3://bucket/tenant@eu/x', { path: 'tenant@eu/x' }],
  ['gcs://bucket/prefix', 'gcs://bucket/prefix', { scheme: 'gcs', bucket: 'bucket', path: 'prefix' }],
  ['gs://my_bucket/prefix', 'gcs://my_bucket/prefix', { scheme: 'gcs', bucket: 'my_bucket', path: 'prefix' }],
  [
    'adls://acct.dfs.core.windows.net/container/path',
    'adls://acct.dfs.core.windows.net/container/path',
    { scheme: 'adls', host: 'acct.dfs.core.windows.net', bucket: 'container', path: 'path' },
  ],
  ['adls://acct/container/a/b', 'adls://acct.dfs.core.windows.net/container/a/b', { bucket: 'container', path: 'a/b' }],
  ['adls://acct.dfs.core.chinacloudapi.cn/container', 'adls://acct.dfs.core.chinacloudapi.cn/container', { path: '' }],
  ['abfs://container@acct.dfs.core.windows.net/p', 'adls://acct.dfs.core.windows.net/container/p', { scheme: 'adls' }],
  ['abfss://container@Acct.dfs.core.windows.net', 'adls://acct.dfs.core.windows.net/container', { path: '' }],
];

for (const [written, url, parts] of valid) {
  test(`the URL ${written} is ${url}`, () => {
    const parsed = parseStorageUrl(written, environment);
    assert.ok('url' in parsed, problemsOf(written));
    assert.equal(parsed.url.url, url);
    assert.equal(parsed.url.written, written);
    for (const [name, value] of Object.entries(parts))
      assert.equal(Object.entries(parsed.url).find(([key]) => key === name)?.[1], value);
    const again = parseStorageUrl(url, {});
    assert.ok('url' in again && again.url.url === url, 'the canonical form is its own canonical form');
  });
}

const invalid: readonly [written: string, said: RegExp][] = [
  ['', /is empty/],
  ['/data/wal', /no scheme; write file:\/\//],
  ['wal', /no scheme; write file, s3, adls/],
  ['file:/data/wal', /no \/\/ after file:/],
  ['file://data/wal', /relative.*three slashes/],
  ['file://./data', /relative/],
  ['file:///', /root directory/],
  ['file:///a/../b', /\. or \.\./],
  ['file:///a/./b', /\. or \.\./],
  ['s3://bucket/..', /\. or \.\./],
  ['ftp://host/x', /scheme ftp:\/\/ is unknown; use one of/],
  ['s4://bucket/x', /did you mean s3:\/\/\?/],
  ['s3://', /no bucket/],
  ['s3:///prefix', /no bucket/],
  ['gs:///prefix', /no bucket; write gs:\/\/bucket/],
  ['s3://Bucket/x', /its bucket is not of the form/],
  ['s3://minio:9000/bucket', /its bucket.*endpoints belong into url_options/],
  ['gcs://b/x', /its bucket/],
  ['adls://acct', /no container/],
  ['adls://acct/', /no container/],
  ['adls:///container/x', /account is missing/],
  ['adls://acct.blob.core.windows.net/c/x', /account\.dfs\.core\.windows\.net/],
  ['adls://acct/UPPER/x', /container is not of the form/],
  ['abfs://acct.dfs.core.windows.net/x', /no container; write abfs:\/\/container@/],
  ['abfss://@acct.dfs.core.windows.net/x', /no container/],
  ['s3://user:hush@bucket/x', /user or password.*credentials_dir/],
  ['s3://user:hu/sh@bucket/x', /user or password/],
  ['s3://hush@bucket/x', /user or password/],
  ['file://user:hush@host/x', /user or password/],
  ['adls://container@acct.dfs.core.windows.net/x', /user or password/],
  ['abfs://container:hush@acct.dfs.core.windows.net/x', /user or password/],
  ['adls://acct/container/x?sig=hush', /a \? or #/],
  ['file:///a#b', /a \? or #/],
  ['file:///my%20disk', /a %, and URLs are taken literally/],
  ['file:///a\\b', /backslash/],
  ['file:///a\tb', /white space/],
  ['file:///a\u0000b', /control/],
  ['file:///a\u200bb', /invisible/],
  ['file:///a/ b', /white space/],
  ['s3://bucket/x ', /white space/],
  [' s3://bucket/x', /no scheme/],
  ['s3://buc ket/x', /white space/],
  [`file:///${'a'.repeat(1017)}`, /has 1025 characters, 1024 are allowed/],
  ['file://${NOT_SET}/x', /variable NOT_SET is not set; set NOT_SET/],
  ['file://${toString}/x', /variable toString is not set/],
  ['file://${EMPTY}/x', /variable EMPTY is empty/],
  ['file://${RELATIVE}/x', /relative/],
  ['file://${UP}/x', /\. or \.\./],
  ['file:///${PCT}', /a %/],
  ['file://${PWD/x', /\$\{ that no variable name and \} follow/],
  ['file://${}/x', /\$\{ that no variable name/],
  ['file://${A-B}/x', /\$\{ that no variable name/],
  ['file:///$HOME/x', /a \$ that begins no \$\{NAME\}/],
  ['s3://bucket/${AWS_SECRET_ACCESS_KEY}', /by its name a secret/],
];

for (const [written, said] of invalid) {
  test(`the URL ${JSON.stringify(written.slice(0, 60))} is refused: ${said.source}`, () => {
    assert.match(problemsOf(written), said);
  });
}

test('R7 neither the problems of a URL nor its masked form show its password', () => {
  for (const [written] of invalid.filter(([url]) => url.includes('hu'))) {
    assert.doesNotMatch(problemsOf(written), /hu\/?sh/, written);
    assert.doesNotMatch(maskUrl(written), /hu\/?sh/, written);
  }
});

test('a URL that breaks several rules names all of them', () => {
  assert.match(problemsOf('s3:///a/../b%20?x'), /no bucket[^]*a \? or #[^]*\. or \.\.[^]*a %/);
});

test('a URL of 1024 characters holds', () => {
  assert.equal(problemsOf(`file:///${'a'.repeat(1016)}`), '');
});

test('origin: only file:// was registered, so that a cloud URL stopped the server; here each parses', () => {
  const clouds = ['s3://bucket/p', 'adls://account/container/p', 'gcs://bucket/p'];
  for (const written of clouds) assert.equal(problemsOf(written), '');
});
