/** Making a generation of certificates. Loaded when the leader makes one: once in two months. */
// oxlint-disable-next-line import/no-unassigned-import -- adds to Reflect what the library's registry wants there
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Generation, Lifetimes } from './certificates.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };

/**
 * An authority and its only certificate, valid for these host names and IP addresses from a little before `now`
 * (milliseconds of the wall clock). The authority's key exists only while this runs.
 */
export async function issue(
  names: readonly string[],
  now: number,
  { validMs, skewMs }: Lifetimes,
): Promise<Generation> {
  const [authorityKeys, keys] = await Promise.all([generateKeys(), generateKeys()]);
  const times = { notBefore: new Date(now - skewMs), notAfter: new Date(now + validMs) };
  // Of this name there are several in the bundle: the serial number tells them apart for people.
  const serialNumber = serial();
  const name = `CN=walstorage-operator webhook authority ${serialNumber}`;
  const authority = await X509CertificateGenerator.createSelfSigned({
    name,
    serialNumber,
    ...times,
    keys: authorityKeys,
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      await SubjectKeyIdentifierExtension.create(authorityKeys.publicKey),
    ],
  });
  const certificate = await X509CertificateGenerator.create({
    subject: 'CN=walstorage-operator webhook',
    issuer: name,
    serialNumber: serial(),
    ...times,
    publicKey: keys.publicKey,
    signingKey: authorityKeys.privateKey,
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      await AuthorityKeyIdentifierExtension.create(authorityKeys.publicKey),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }))),
    ],
  });
  const key = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { pair: { certificate: certificate.toString('pem'), key }, authority: authority.toString('pem') };
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

/** Positive, and of at most 20 bytes, as RFC 5280 wants it. */
function serial(): string {
  return `01${randomBytes(15).toString('hex')}`;
}
