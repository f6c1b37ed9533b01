import assert from 'node:assert/strict';
import test from 'node:test';
import { parse } from './parse.ts';
import { format } from './problem.ts';

const environment = { POD_NAME: 'proximadb-0' };

function problemsOf(text: string): string {
  return format(parse(text, environment).problems);
}

const options = (line: string) =>
  `[storage.wal_config]\nwal_urls = ["s3://bucket/a"]\n[storage.url_options."s3://bucket/a"]\n${line}`;

const refusedOptions: readonly [line: string, said: RegExp][] = [
  ['access_key_id = "hush"', /inline secret/],
  ['secretAccessKey = "hush"', /inline secret/],
  ['session_token = "hush"', /inline secret/],
  ['account_key = "hush"', /inline secret/],
  ['sas = "hush"', /inline secret/],
  ['password = "hush"', /inline secret/],
  ['connection_string = "hush"', /inline secret/],
  ['"key.json" = "hush"', /inline secret/],
  ['regio = "hush"', /is an unknown key; did you mean region\?/],
  ['credential_dir = "/hush"', /is an unknown key; did you mean credentials_dir\?/],
  [
    'foo = "hush"',
    /is an unknown key; remove it; the keys here are endpoint, region, force_path_style, credentials_dir/,
  ],
  ['endpoint = "hush"', /endpoint = \*\*\*: must be an http/],
  ['endpoint = "http://user:hush@minio:9000"', /endpoint = \*\*\*: must be an http/],
  ['endpoint = "http://minio:9000?sig=hush"', /endpoint = \*\*\*: must be an http/],
  ['region = "hush/HUSH+"', /region = \*\*\*: must be a region/],
  ['credentials_dir = "hush"', /credentials_dir = \*\*\*: must be an absolute directory/],
  ['credentials_dir = "/etc/../hush"', /must be an absolute directory without \.\./],
  ['force_path_style = "yes"', /must be a boolean/],
];

for (const [line, said] of refusedOptions) {
  test(`R7 the URL option ${line} is refused, and its value not shown`, () => {
    assert.match(problemsOf(options(line)), said);
    assert.doesNotMatch(problemsOf(options(line)), /hush/i);
  });
}

test('options are found by the URL as written, before expansion', () => {
  const text = `[storage.wal_config]
    wal_urls = ["s3://bucket/\${POD_NAME}"]
    [storage.url_options."s3://bucket/\${POD_NAME}"]
    endpoint = "http://minio:9000"
    region = "us-west-2"
    force_path_style = true
    credentials_dir = "/etc/walstorage/credentials/wal-s3"`;
  assert.deepEqual(parse(text, environment).configuration?.urlOptions.get('s3://bucket/${POD_NAME}'), {
    endpoint: 'http://minio:9000',
    region: 'us-west-2',
    forcePathStyle: true,
    credentialsDir: '/etc/walstorage/credentials/wal-s3',
  });
});

test('options of a URL that does not hold are checked, and not said to match nothing', () => {
  const text = '[storage.wal_config]\nwal_urls = ["s3://B/a"]\n[storage.url_options."s3://B/a"]\nregio = "x"';
  assert.match(problemsOf(text), /its bucket[^]*did you mean region/);
  assert.doesNotMatch(problemsOf(text), /matches no URL/);
});

test('an option that has no effect on its URL warns', () => {
  const text =
    '[storage.wal_config]\nwal_urls = ["file:///w"]\n[storage.url_options."file:///w"]\nregion = "us-west-2"';
  assert.match(format(parse(text, environment).warnings), /region = "us-west-2": has no effect on file:\/\/ URLs/);
});
