/** WalStorages that the API server must refuse, and the beginning of the sentence that it must answer. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { WalStorage, WalStorageSpec } from '../crds/walstorage.generated.ts';

/** `examples/walstorage.yaml` */
export const example: WalStorage = parse(
  readFileSync(fileURLToPath(new URL('../examples/walstorage.yaml', import.meta.url)), 'utf8'),
);

/** The example with another spec and name. */
export function storage(spec: object, name = example.metadata.name ?? ''): object {
  return { apiVersion: example.apiVersion, kind: example.kind, metadata: { name }, spec };
}

/** A spec with one volume at /mnt/wal1 and these WAL URLs. */
export function withUrls(...urls: readonly string[]): WalStorageSpec {
  return { ...example.spec, wal: { urls: urls.map((url) => ({ url })) } };
}

function withVolumes(...volumes: readonly object[]): object {
  return { volumes, wal: { urls: [{ url: 's3://bucket/wal' }] } };
}

function withWal(wal: object): object {
  return { ...example.spec, wal: { ...example.spec.wal, ...wal } };
}

const claimTemplate = { resources: { requests: { storage: '1Gi' } } };
const claimOf = (size: string | number) => ({ resources: { requests: { storage: size } } });
const modes = (...names: readonly string[]) => names.map((name) => `ReadWrite${name}`);
const volume = (change: object) => ({ name: 'data', mountPath: '/mnt/data', claimTemplate, ...change });
const manyUrls = (component: string) => Array.from({ length: 17 }, (_, i) => ({ url: `s3://bucket/${component}${i}` }));

interface Refusal {
  /** What is wrong, the test's name. */
  readonly wrong: string;
  readonly object: object;
  /** A part of the sentence that the user gets: for a CEL rule the beginning of its message. */
  readonly says: RegExp;
}

/** One row or more for each rule of the CRD; the last test of the table looks for rules without a row. */
export const refusals: readonly Refusal[] = [
  {
    wrong: 'a name of 41 characters',
    object: storage(example.spec, 'x'.repeat(41)),
    says: /choose a name of at most 40 characters/,
  },
  { wrong: 'a name with a dot', object: storage(example.spec, 'a.b'), says: /choose a name of at most 40 characters/ },
  { wrong: 'no wal', object: storage({ volumes: [] }), says: /spec\.wal: Required value/ },
  { wrong: 'no URL', object: storage(withUrls()), says: /spec\.wal\.urls: .*should have at least 1 items/ },
  {
    wrong: 'a path without a scheme',
    object: storage(withUrls('/mnt/wal1/wal')),
    says: /begin the URL with file:\/\//,
  },
  { wrong: 'an unknown scheme', object: storage(withUrls('hdfs://mnt/wal1')), says: /begin the URL with file:\/\// },
  { wrong: 'a relative file URL', object: storage(withUrls('file://mnt/wal1')), says: /write three slashes/ },
  { wrong: 'a file URL of the root', object: storage(withUrls('file:///')), says: /write three slashes/ },
  { wrong: 'an s3 URL without a bucket', object: storage(withUrls('s3:///prefix')), says: /name the bucket/ },
  { wrong: 'a gs URL without a bucket', object: storage(withUrls('gs://')), says: /name the bucket/ },
  {
    wrong: 'an adls URL without a container',
    object: storage(withUrls('adls://account')),
    says: /name the account and the container/,
  },
  {
    wrong: 'an abfss URL without a container',
    object: storage(withUrls('abfss://account.dfs.core.windows.net/x')),
    says: /name the container and the account/,
  },
  {
    wrong: 'a URL with ..',
    object: storage(withUrls('file:///mnt/wal1/../wal2')),
    says: /write the URL without the segments/,
  },
  { wrong: 'a URL that ends in .', object: storage(withUrls('s3://b/.')), says: /write the URL without the segments/ },
  {
    wrong: 'credentials in a URL',
    object: storage(withUrls('s3://key:secret@bucket/prefix')),
    says: /take the credentials out of the URL/,
  },
  {
    wrong: 'a password in an abfss URL',
    object: storage(withUrls('abfss://container:secret@account.dfs.core.windows.net/x')),
    says: /take the credentials out of the URL/,
  },
  { wrong: 'a query', object: storage(withUrls('s3://bucket/p?region=x')), says: /end the URL before its '\?' or '#'/ },
  { wrong: 'an escape', object: storage(withUrls('file:///mnt/wal1/a%2Fb')), says: /write the URL without '%'/ },
  { wrong: 'a control character', object: storage(withUrls('s3://b/a\nb')), says: /write the URL without '%'/ },
  {
    wrong: 'a URL of 1025 characters',
    object: storage(withUrls(`s3://bucket/${'x'.repeat(1013)}`)),
    says: /Too long: may not be more than 1024/,
  },
  {
    wrong: 'one URL twice',
    object: storage(withUrls('file:///mnt/wal1/wal', 'file:///mnt/wal1/wal')),
    says: /the same URL stands twice/,
  },
  {
    wrong: 'one URL twice, but for a trailing slash',
    object: storage(withUrls('s3://bucket/wal', 's3://bucket/wal/')),
    says: /the same URL stands twice/,
  },
  {
    wrong: 'one URL in two components',
    object: storage({ ...example.spec, viper: { urls: [{ url: 'file:///mnt/wal1/wal' }] } }),
    says: /the same URL stands twice/,
  },
  {
    wrong: 'one URL inside another',
    object: storage(withUrls('file:///mnt/wal1/wal/inner', 'file:///mnt/wal1/wal')),
    says: /one URL lies inside another/,
  },
  {
    wrong: 'one URL inside that of another component',
    object: storage({ ...example.spec, metadata: { urls: [{ url: 'file:///mnt/wal1/wal/metadata' }] } }),
    says: /one URL lies inside another/,
  },
  {
    wrong: 'a file URL without a volume',
    object: storage({ wal: example.spec.wal }),
    says: /each file:\/\/ URL must lie under the mountPath/,
  },
  {
    wrong: 'a file URL whose path only begins like a mountPath',
    object: storage(withUrls('file:///mnt/wal10/wal')),
    says: /each file:\/\/ URL must lie under the mountPath/,
  },
  {
    wrong: 'a file URL of the index outside all volumes',
    object: storage({ ...example.spec, index: { urls: [{ url: 'file:///mnt/other/index' }] } }),
    says: /each file:\/\/ URL must lie under the mountPath/,
  },
  {
    wrong: '34 URLs over two components',
    object: storage({ wal: { urls: manyUrls('wal') }, lsm: { urls: manyUrls('lsm') } }),
    says: /use at most 32 URLs over all components/,
  },
  {
    wrong: 'credentials for a file URL',
    object: storage(withWal({ urls: [{ url: 'file:///mnt/wal1/wal', credentialsSecretRef: { name: 'x' } }] })),
    says: /remove credentialsSecretRef/,
  },
  {
    wrong: 'options for a file URL',
    object: storage(withWal({ urls: [{ url: 'file:///mnt/wal1/wal', options: { region: 'x' } }] })),
    says: /remove options/,
  },
  {
    wrong: 'an endpoint without a scheme',
    object: storage(withWal({ urls: [{ url: 's3://bucket/wal', options: { endpoint: 'minio:9000' } }] })),
    says: /write the endpoint with its scheme and host/,
  },
  {
    wrong: 'an unknown strategy',
    object: storage(withWal({ distributionStrategy: 'Random' })),
    says: /supported values: "RoundRobin", "Hash", "LoadBalanced"/,
  },
  {
    wrong: 'collections that move between URLs',
    object: storage(withWal({ collectionAffinity: false })),
    says: /write collectionAffinity: true, or remove the line/,
  },
  {
    wrong: 'a memoryFlushSize that is no quantity',
    object: storage(withWal({ memoryFlushSize: '1 MB' })),
    says: /write a positive number of whole bytes/,
  },
  {
    wrong: 'a memoryFlushSize of 0',
    object: storage(withWal({ memoryFlushSize: 0 })),
    says: /write a positive number of whole bytes/,
  },
  {
    wrong: 'a memoryFlushSize of one and a half bytes',
    object: storage(withWal({ memoryFlushSize: '1500m' })),
    says: /write a positive number of whole bytes/,
  },
  {
    wrong: 'a negative globalFlushThreshold',
    object: storage(withWal({ globalFlushThreshold: '-1Gi' })),
    says: /write a positive number of whole bytes/,
  },
  {
    wrong: 'a globalFlushThreshold of 127Mi',
    object: storage(withWal({ globalFlushThreshold: '127Mi' })),
    says: /raise globalFlushThreshold to at least 128Mi/,
  },
  {
    wrong: 'a globalFlushThreshold below twice memoryFlushSize',
    object: storage(withWal({ globalFlushThreshold: '1Gi', memoryFlushSize: '513Mi' })),
    says: /lower memoryFlushSize, or raise globalFlushThreshold/,
  },
  {
    wrong: 'a memoryFlushSize over half of the default globalFlushThreshold',
    object: storage(withWal({ memoryFlushSize: 268435457 })),
    says: /lower memoryFlushSize, or raise globalFlushThreshold/,
  },
  {
    wrong: 'a volume without a source',
    object: storage(withVolumes({ name: 'data', mountPath: '/mnt/data' })),
    says: /give exactly one source/,
  },
  {
    wrong: 'a volume with two sources',
    object: storage(withVolumes(volume({ emptyDir: {} }))),
    says: /give exactly one source/,
  },
  {
    wrong: 'a volume name in capitals',
    object: storage(withVolumes(volume({ name: 'NVMe' }))),
    says: /name the volume with at most 40/,
  },
  {
    wrong: 'two volumes of one name',
    object: storage(withVolumes(volume({}), volume({ mountPath: '/mnt/other' }))),
    says: /Duplicate value: .*"name":"data"/,
  },
  {
    wrong: 'a relative mountPath',
    object: storage(withVolumes(volume({ mountPath: 'mnt' }))),
    says: /write an absolute path below the root without a trailing/,
  },
  {
    wrong: 'a mountPath with a trailing slash',
    object: storage(withVolumes(volume({ mountPath: '/mnt/data/' }))),
    says: /write an absolute path below the root without a trailing/,
  },
  {
    wrong: 'a mountPath with ..',
    object: storage(withVolumes(volume({ mountPath: '/mnt/../data' }))),
    says: /write the path without the segments '\.' and '\.\.'/,
  },
  {
    wrong: 'a mountPath with a colon',
    object: storage(withVolumes(volume({ mountPath: '/mnt/a:b' }))),
    says: /write the path without ':'/,
  },
  ...['/etc', '/run/walstorage', '/etc/walstorage/config'].map((mountPath) => ({
    wrong: `a mountPath where the sidecar has its own files: ${mountPath}`,
    object: storage(withVolumes(volume({ mountPath }))),
    says: /choose another path, for example \/mnt\/nvme1; below/,
  })),
  {
    wrong: 'one mountPath twice',
    object: storage(withVolumes(volume({}), volume({ name: 'other' }))),
    says: /two volumes have the same mountPath/,
  },
  {
    wrong: 'one mountPath inside another',
    object: storage(withVolumes(volume({}), volume({ name: 'other', mountPath: '/mnt/data/inner' }))),
    says: /one volume's mountPath lies inside another's/,
  },
  {
    wrong: 'a subPath that leaves the volume',
    object: storage(withVolumes({ name: 'data', mountPath: '/d', podVolume: { name: 'data', subPath: '../x' } })),
    says: /write a path relative to the volume/,
  },
  {
    wrong: 'a relative hostPath',
    object: storage(withVolumes({ name: 'data', mountPath: '/d', hostPath: { path: 'mnt' } })),
    says: /write an absolute path below the root, without '\.\.'/,
  },
  {
    wrong: 'a claim for one pod and for one node',
    object: storage(
      withVolumes(volume({ claimTemplate: { ...claimTemplate, accessModes: modes('Once', 'OncePod') } })),
    ),
    says: /write ReadWriteOncePod alone/,
  },
  {
    wrong: 'a WAL URL on claims that several nodes may mount',
    object: storage({
      volumes: [volume({ claimTemplate: { ...claimTemplate, accessModes: modes('Once', 'Many') } })],
      wal: { urls: [{ url: 'file:///mnt/data/wal' }] },
    }),
    says: /a WAL URL lies on a claimTemplate with ReadWriteMany/,
  },
  {
    wrong: 'a memory limit below the default globalFlushThreshold and what the sidecar needs',
    object: storage({ ...withUrls('s3://bucket/wal'), sidecar: { resources: { limits: { memory: 805306367 } } } }),
    says: /raise sidecar\.resources\.limits\.memory to at least globalFlushThreshold/,
  },
  {
    wrong: 'a memory limit below globalFlushThreshold and what the sidecar needs',
    object: storage({
      ...withWal({ globalFlushThreshold: '1Gi' }),
      sidecar: { resources: { limits: { memory: '1.2Gi' } } },
    }),
    says: /raise sidecar\.resources\.limits\.memory to at least globalFlushThreshold/,
  },
  {
    wrong: 'a claim of no size',
    object: storage(withVolumes(volume({ claimTemplate: claimOf(0) }))),
    says: /write a positive quantity/,
  },
  {
    wrong: 'a claim whose size is no quantity',
    object: storage(withVolumes(volume({ claimTemplate: claimOf('20 gigabytes') }))),
    says: /write a positive quantity/,
  },
];

interface RefusedChange {
  /** What the change is, the test's name. */
  readonly change: string;
  readonly from: object;
  readonly to: object;
  readonly says: RegExp;
}

const withClaim = (claim: object) => withVolumes({ name: 'data', mountPath: '/mnt/data', claimTemplate: claim });
const classed = (name: string) => ({ ...claimTemplate, storageClassName: name });

/** What may not become of a WalStorage. */
export const refusedChanges: readonly RefusedChange[] = [
  {
    change: 'a claimTemplate that becomes an emptyDir',
    from: withClaim(claimTemplate),
    to: withVolumes({ name: 'data', mountPath: '/mnt/data', emptyDir: {} }),
    says: /keep the claimTemplate, since the pods' claims hold/,
  },
  {
    change: 'another access mode',
    from: withClaim(claimTemplate),
    to: withClaim({ ...claimTemplate, accessModes: modes('OncePod') }),
    says: /keep accessModes, which the pods' claims have already/,
  },
  {
    change: 'one access mode less',
    from: withClaim({ ...claimTemplate, accessModes: modes('Once', 'Many') }),
    to: withClaim({ ...claimTemplate, accessModes: modes('Many') }),
    says: /keep accessModes, which the pods' claims have already/,
  },
  {
    change: 'a storage class where there was none',
    from: withClaim(claimTemplate),
    to: withClaim(classed('fast')),
    says: /keep storageClassName, which the pods' claims have already/,
  },
  {
    change: 'another storage class',
    from: withClaim(classed('slow')),
    to: withClaim(classed('fast')),
    says: /keep storageClassName, which the pods' claims have already/,
  },
  {
    change: 'no storage class where there was one',
    from: withClaim(classed('slow')),
    to: withClaim(claimTemplate),
    says: /keep storageClassName, which the pods' claims have already/,
  },
  {
    change: 'smaller claims',
    from: withClaim(claimOf('1Gi')),
    to: withClaim(claimOf('1023Mi')),
    says: /keep the size or raise it, since a claim can't shrink/,
  },
];

/** What may become of a claimTemplate. */
export const takenChanges: readonly { readonly from: object; readonly to: object }[] = [
  { from: withClaim(claimOf('1Gi')), to: withClaim(claimOf('1025Mi')) },
  { from: withClaim(claimOf(1_000_000)), to: withClaim(claimOf('1M')) },
  { from: withClaim(claimTemplate), to: withClaim({ ...claimTemplate, accessModes: modes('Once') }) },
  {
    from: withClaim({ ...claimTemplate, accessModes: modes('Once', 'Many') }),
    to: withClaim({ ...claimTemplate, accessModes: modes('Many', 'Once') }),
  },
  { from: withVolumes({ name: 'data', mountPath: '/mnt/data', emptyDir: {} }), to: withClaim(claimTemplate) },
  { from: withClaim(classed('slow')), to: withVolumes(volume({ name: 'other', claimTemplate: classed('fast') })) },
];
