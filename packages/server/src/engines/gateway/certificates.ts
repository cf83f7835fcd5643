/**
 * The installation's own certificate authority and the server's certificate: made at first start, kept in the data
 * folder, the server's renewed when it nears its end or its names change. Nodes are given the authority's certificate.
 */
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as never)

export interface KeyAndCertificate {
  /** PEM, PKCS#8. */
  key: string
  /** PEM; for a server the chain. */
  cert: string
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
const AUTHORITY_DAYS = 3_650
/** Browsers and some clients refuse server certificates that live longer than 398 days in all. */
const SERVER_DAYS = 396
const RENEW_DAYS = 30
/** Certificates begin early: a node whose clock is a day behind trusts one of today. */
const EARLY_DAYS = 2

export async function createAuthority(name: string, now: Date): Promise<KeyAndCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(now.getTime() - EARLY_DAYS * DAY_MS),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys: keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { key: await pemOf(keys.privateKey), cert: `${certificate.toString('pem')}\n` }
}

export async function issueServerCertificate(
  authority: KeyAndCertificate,
  names: string[],
  now: Date,
): Promise<KeyAndCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const issuer = new x509.X509Certificate(authority.cert)
  const der = x509.PemConverter.decode(authority.key)[0]!
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign'])
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${names[0] ?? 'musterbook'}`,
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - EARLY_DAYS * DAY_MS),
    notAfter: new Date(now.getTime() + SERVER_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isAddress(value) ? 'ip' : 'dns', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  })
  return { key: await pemOf(keys.privateKey), cert: `${certificate.toString('pem')}\n${authority.cert}` }
}

/** True when the certificate names all of `names`, has a month left, fits its key and was issued by this authority. */
export function isCurrent(
  server: KeyAndCertificate,
  authority: KeyAndCertificate,
  names: string[],
  now: Date,
): boolean {
  const certificate = new X509Certificate(server.cert)
  const issuer = new X509Certificate(authority.cert)
  if (new Date(certificate.validTo).getTime() - now.getTime() < RENEW_DAYS * DAY_MS) return false
  if (!certificate.verify(issuer.publicKey)) return false
  // The two lie in two files: a process that was killed between them leaves a pair that does not belong together.
  if (!certificate.checkPrivateKey(createPrivateKey(server.key))) return false
  return names.every(
    (name) => (isAddress(name) ? certificate.checkIP(name) : certificate.checkHost(sample(name))) !== undefined,
  )
}

/** A wildcard is checked by a name that it covers. */
const sample = (name: string) => (name.startsWith('*.') ? `any${name.slice(1)}` : name)
const isAddress = (name: string) => /^[0-9.]+$/.test(name) || name.includes(':')

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key)
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`
}
