import { constants, createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { signMessage, verifyMessage } from '../../packages/server/src/capabilities/keys/signatures.ts'
import { type KeySpec, makeMaterial, specOf } from '../../packages/server/src/capabilities/keys/specs.ts'

const SPECS: KeySpec[] = ['RSA_2048', 'ECC_NIST_P256', 'ECC_NIST_P384', 'ECC_NIST_P521', 'ECC_SECG_P256K1']
const message = fc.uint8Array({ maxLength: 200 })

describe.each(SPECS)('signatures of %s', async (name) => {
  const spec = specOf(name)
  const material = await makeMaterial(spec)
  const publicDer = material.publicKey ?? Buffer.alloc(0)
  const privateKey = createPrivateKey({ key: material.secret, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey({ key: publicDer, format: 'der', type: 'spki' })

  it.each(spec.signing ?? [])(
    'by %s mean the same as those of OpenSSL, over messages and over digests',
    (algorithm) => {
      const hash = `sha${algorithm.slice(-3)}`
      const options = algorithm.startsWith('RSASSA_PSS')
        ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
        : {}
      fc.assert(
        fc.property(message, fc.boolean(), fc.nat(), (raw, signsDigest, at) => {
          const digest = createHash(hash).update(raw).digest()
          const whole = { bytes: raw, algorithm, isDigest: false }
          const digested = { bytes: digest, algorithm, isDigest: true }
          const ours = signMessage(spec, material.secret, signsDigest ? digested : whole)
          const theirs = sign(hash, raw, { key: privateKey, ...options })
          expect(verify(hash, raw, { key: publicKey, ...options }, ours)).toBe(true)
          for (const signature of [ours, theirs]) {
            expect(verifyMessage(spec, publicDer, whole, signature)).toBe(true)
            expect(verifyMessage(spec, publicDer, digested, signature)).toBe(true)
          }
          const bit = at % (ours.length * 8)
          const forged = Buffer.from(ours)
          forged[bit >> 3]! ^= 1 << (bit & 7)
          expect(verifyMessage(spec, publicDer, whole, forged), `bit ${bit}`).toBe(false)
          expect(verifyMessage(spec, publicDer, whole, ours.subarray(0, at % ours.length))).toBe(false)
          const other = { ...whole, bytes: Buffer.concat([raw, Buffer.of(0)]) }
          expect(verifyMessage(spec, publicDer, other, ours)).toBe(false)
        }),
        { numRuns: 12 },
      )
    },
  )
})

describe('a signature over a digest', () => {
  it('is refused for a digest of another length', async () => {
    const spec = specOf('ECC_NIST_P256')
    const { secret } = await makeMaterial(spec)
    const short = { bytes: Buffer.alloc(31), algorithm: 'ECDSA_SHA_256', isDigest: true } as const
    expect(() => signMessage(spec, secret, short)).toThrow('Digest is invalid length for algorithm ECDSA_SHA_256.')
  })
})
