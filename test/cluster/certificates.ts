/** The cluster's certificates, made by openssl (elliptic curve, 30 days), and the kubeconfigs that carry them. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './child.ts';

const days = '30';

/** The node's name in clusters that have one. */
export const nodeName = 'node1';

/** Who may speak to the API server, each with a certificate and a kubeconfig of that name. */
const users = [
  { name: 'admin', subject: '/O=system:masters/CN=admin' },
  { name: 'controller-manager', subject: '/CN=system:kube-controller-manager' },
  { name: 'scheduler', subject: '/CN=system:kube-scheduler' },
  { name: 'kubelet', subject: `/O=system:nodes/CN=system:node:${nodeName}` },
  { name: 'kube-proxy', subject: '/CN=system:kube-proxy' },
] as const;

export type User = (typeof users)[number]['name'];

/**
 * Makes `ca`, `apiserver` and one certificate for each user (`.crt`, `.key`), and the keys of service accounts (`sa.key`, `sa.pub`).
 * @param addresses where servers are reached: the API server, and the kubelet, which serves with its user's certificate
 */
export async function makeCertificates(directory: string, addresses: readonly string[] = ['127.0.0.1']): Promise<void> {
  const serviceAccounts = generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  await writeFile(join(directory, 'sa.key'), serviceAccounts.privateKey, { mode: 0o600 });
  await writeFile(join(directory, 'sa.pub'), serviceAccounts.publicKey);

  const usages = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];
  const extensions = usages.flatMap((usage) => ['-addext', usage]);
  const authority = ['req', '-x509', ...newKey('ca'), '-subj', '/CN=walstorage-test', '-days', days, ...extensions];
  await openssl(directory, [...authority, '-out', 'ca.crt']);
  const dnsNames = ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
  const names = [...addresses.map((address) => `IP:${address}`), ...dnsNames.map((name) => `DNS:${name}`)];
  const extra = [`subjectAltName=${names.join(',')}`];
  await Promise.all([
    makeLeaf(directory, 'apiserver', '/CN=kube-apiserver', extra),
    ...users.map(({ name, subject }) => makeLeaf(directory, name, subject, name === 'kubelet' ? extra : [])),
  ]);
}

async function makeLeaf(directory: string, name: string, subject: string, extra: readonly string[]): Promise<void> {
  const usages = ['keyUsage=critical,digitalSignature', 'extendedKeyUsage=serverAuth,clientAuth'];
  await writeFile(join(directory, `${name}.ext`), [...usages, ...extra].join('\n'));
  await openssl(directory, ['req', ...newKey(name), '-subj', subject, '-out', `${name}.csr`]);
  const serial = ['-set_serial', `0x01${randomBytes(8).toString('hex')}`, '-days', days, '-extfile', `${name}.ext`];
  const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', ...serial, '-out', `${name}.crt`];
  await openssl(directory, ['x509', '-req', '-in', `${name}.csr`, ...signed]);
}

function newKey(name: string): readonly string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`];
}

async function openssl(directory: string, args: readonly string[]): Promise<void> {
  await run('openssl', args, { directory });
}

/** Writes `<user>.kubeconfig` for every user beside the certificates. */
export async function makeKubeconfigs(directory: string, server: string): Promise<void> {
  const base64 = async (file: string) => (await readFile(join(directory, file))).toString('base64');
  const authority = await base64('ca.crt');
  for (const { name: user } of users) {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'walstorage', cluster: { server, 'certificate-authority-data': authority } }],
      users: [
        {
          name: user,
          user: {
            'client-certificate-data': await base64(`${user}.crt`),
            'client-key-data': await base64(`${user}.key`),
          },
        },
      ],
      contexts: [{ name: 'walstorage', context: { cluster: 'walstorage', user } }],
      'current-context': 'walstorage',
    };
    await writeFile(kubeconfigFile(directory, user), JSON.stringify(config), { mode: 0o600 });
  }
}

/** The path of a user's kubeconfig. */
export function kubeconfigFile(directory: string, user: User): string {
  return join(directory, `${user}.kubeconfig`);
}
