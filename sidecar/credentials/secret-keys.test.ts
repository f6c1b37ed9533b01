import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SecretContent, type StoreScheme, secretProblem } from './secret-keys.ts';

function content(values: Readonly<Record<string, string | undefined>>): SecretContent {
  const entries = Object.entries(values);
  return new Map(entries.map(([key, value]) => [key, value === undefined ? undefined : Buffer.from(value)]));
}

const key = 'Zz9value9zZ';
const keyFile = JSON.stringify({ type: 'service_account', client_email: 'a@b', private_key: key });

const whole: readonly (readonly [StoreScheme, Readonly<Record<string, string>>])[] = [
  ['s3', { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: key }],
  ['s3', { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: key, AWS_SESSION_TOKEN: key, more: key }],
  ['gcs', { 'key.json': keyFile }],
  ['gcs', { 'key.json': JSON.stringify({ type: 'external_account', audience: 'x' }) }],
  ['adls', { AZURE_STORAGE_KEY: key }],
  ['adls', { AZURE_STORAGE_SAS_TOKEN: key }],
  ['adls', { AZURE_TENANT_ID: key, AZURE_CLIENT_ID: key, AZURE_CLIENT_SECRET: key }],
];

test('nothing is wrong with a Secret that holds exactly one set of its scheme’s keys', () => {
  for (const [scheme, values] of whole) assert.equal(secretProblem(scheme, 'wal', content(values)), undefined, scheme);
});

const broken: readonly (readonly [StoreScheme, Readonly<Record<string, string>>, RegExp])[] = [
  [
    's3',
    {},
    /^the Secret wal does not exist or is empty: create it in the pod's namespace with AWS_ACCESS_KEY_ID \+ AWS_SECRET_ACCESS_KEY$/,
  ],
  ['s3', { AWS_ACCESS_KEY_ID: key }, /^the Secret wal lacks AWS_SECRET_ACCESS_KEY: add that$/],
  ['s3', { AWS_ACCESS_KEY_ID: key, AWS_SECRET_KEY: key }, /lacks AWS_SECRET_ACCESS_KEY and has AWS_SECRET_KEY instead/],
  [
    's3',
    { aws_access_key_id: key, 'aws-secret-access-key': key },
    /lacks AWS_ACCESS_KEY_ID \+ AWS_SECRET_ACCESS_KEY and has aws_access_key_id \(AWS_ACCESS_KEY_ID is meant\?\), aws-secret-access-key \(AWS_SECRET_ACCESS_KEY is meant\?\) instead/,
  ],
  [
    's3',
    { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: ' \n' },
    /^AWS_SECRET_ACCESS_KEY of the Secret wal is empty: give it its value$/,
  ],
  [
    's3',
    { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: key, AWS_SESSION_TOKEN: '' },
    /^AWS_SESSION_TOKEN .* is empty/,
  ],
  ['s3', { [key]: key }, /lacks AWS_ACCESS_KEY_ID \+ AWS_SECRET_ACCESS_KEY: add that/],
  ['gcs', { 'credentials.json': keyFile }, /lacks key\.json and has credentials\.json instead/],
  [
    'gcs',
    { 'key.json': `{"private_key": "${key}"` },
    /^key\.json of the Secret wal is no JSON object: store the key file as Google gives it$/,
  ],
  ['gcs', { 'key.json': `"${key}"` }, /is no JSON object/],
  ['gcs', { 'key.json': JSON.stringify({ private_key: key }) }, /has no "type"/],
  ['gcs', { 'key.json': JSON.stringify({ type: 'service_account', private_key: key }) }, /has no "client_email":/],
  ['gcs', { 'key.json': '' }, /is empty/],
  [
    'adls',
    { KEY: key },
    /lacks AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID \+ AZURE_CLIENT_ID \+ AZURE_CLIENT_SECRET and has KEY instead: add that/,
  ],
  [
    'adls',
    { AZURE_STORAGE_KEY: key, AZURE_STORAGE_SAS_TOKEN: key },
    /has AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN, which exclude each other: keep AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, or/,
  ],
  ['adls', { AZURE_TENANT_ID: key, AZURE_CLIENT_SECRET: key }, /lacks AZURE_CLIENT_ID: add that/],
];

test('what is missing, doubled, empty or malformed is named with the Secret, the key and the remedy, never with a value (R7)', () => {
  for (const [scheme, values, expected] of broken) {
    const problem = secretProblem(scheme, 'wal', content(values)) ?? '';
    assert.match(problem, expected);
    assert.ok(!problem.includes(key), problem);
  }
});
