/**
 * Answers that others have published, for the primitives that KMS stands on: NIST's for AES-GCM, RFC 4231 for HMAC, RFC 6979
 * for ECDSA, and a ciphertext of ours from the day on which the format was settled, which every later version must open.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, createPublicKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { nameOfBlob, openBlob, sealBlob } from '../../packages/server/src/capabilities/keys/ciphertext.ts'
import { verifyDigest } from '../../packages/server/src/capabilities/keys/ecdsa-digest.ts'

const hex = (text: string) => Buffer.from(text, 'hex')

describe('AES-256-GCM', () => {
  // McGrew and Viega, The Galois/Counter Mode of Operation (submitted to NIST), appendix B, test cases 13 to 16.
  const KEY = 'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'
  const TEXT =
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39'
  const SEALED =
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662'
  it.each([
    ['13', '00'.repeat(32), '00'.repeat(12), '', '', '', '530f8afbc74536b9a963b4f1c4cb738b'],
    [
      '14',
      '00'.repeat(32),
      '00'.repeat(12),
      '00'.repeat(16),
      '',
      'cea7403d4d606b6e074ec5d3baf39d18',
      'd0d1c8a799996bf0265b98b5d48ab919',
    ],
    [
      '15',
      KEY,
      'cafebabefacedbaddecaf888',
      `${TEXT}1aafd255`,
      '',
      `${SEALED}898015ad`,
      'b094dac5d93471bdec1a502270e3cc6c',
    ],
    [
      '16',
      KEY,
      'cafebabefacedbaddecaf888',
      TEXT,
      'feedfacedeadbeeffeedfacedeadbeefabaddad2',
      SEALED,
      '76fc6ece0f4e1768cddf8853bb2d551b',
    ],
  ])('gives what NIST published, in test case %s', (_case, key, nonce, text, aad, sealed, tag) => {
    const cipher = createCipheriv('aes-256-gcm', hex(key), hex(nonce)).setAAD(hex(aad))
    expect(Buffer.concat([cipher.update(hex(text)), cipher.final()]).toString('hex')).toBe(sealed)
    expect(cipher.getAuthTag().toString('hex')).toBe(tag)
  })
})

describe('a ciphertext blob', () => {
  const keyId = '12345678-90ab-4cde-8f01-234567890abc'
  const material = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
  const FIRST =
    '011234567890ab4cde8f01234567890abc0000000375ec5747d804bfba2920a97e7d2a27a2562a9b1619076baeb75d232c0082d54b0d5a60a40036032da838cb06224bb8054413791cdb8ffc16ff60a812eb36'
  const context = { app: 'billing', stage: 'prod' }

  it('is AES-256-GCM under HMAC-SHA-512 of its salt, with its head and its context authenticated', () => {
    const blob = sealBlob({ keyId, version: 3 }, material, Buffer.from('attack at dawn'), context)
    // Read anew from the description at the head of ciphertext.ts, byte by byte.
    expect(blob.subarray(0, 21).toString('hex')).toBe('011234567890ab4cde8f01234567890abc00000003')
    const derived = createHmac('sha512', material)
      .update('musterbook ciphertext')
      .update(blob.subarray(21, 53))
      .digest()
    const parts = ['app', 'billing', 'stage', 'prod'].map((part) => `\0\0\0${String.fromCharCode(part.length)}${part}`)
    const decipher = createDecipheriv('aes-256-gcm', derived.subarray(0, 32), derived.subarray(32, 44))
    decipher.setAAD(Buffer.concat([blob.subarray(0, 21), Buffer.from(parts.join(''))]))
    decipher.setAuthTag(blob.subarray(-16))
    const opened = Buffer.concat([decipher.update(blob.subarray(53, -16)), decipher.final()])
    expect(opened.toString()).toBe('attack at dawn')
  })

  it('of the first days opens for good', () => {
    const blob = hex(FIRST)
    expect(nameOfBlob(blob)).toEqual({ keyId, version: 3 })
    expect(openBlob(blob, material, { stage: 'prod', app: 'billing' })?.toString()).toBe('attack at dawn')
  })

  it('of a version that cannot be is none', () => {
    const blob = hex(FIRST)
    for (const version of ['00000000', '80000003', 'ffffffff'])
      expect(nameOfBlob(Buffer.concat([blob.subarray(0, 17), hex(version), blob.subarray(21)]))).toBeUndefined()
  })
})

describe('HMAC', () => {
  // RFC 4231. KMS's keys have a fixed length; HMAC fills a shorter key with zeros, so that theirs fit.
  const CASES = [
    ['0b'.repeat(20), Buffer.from('Hi There').toString('hex')],
    [Buffer.from('Jefe').toString('hex'), Buffer.from('what do ya want for nothing?').toString('hex')],
    ['aa'.repeat(20), 'dd'.repeat(50)],
  ] as const
  it.each([
    [224, 0, '896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22'],
    [256, 0, 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [384, 0, 'afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6'],
    [
      512,
      0,
      '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
    ],
    [224, 1, 'a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44'],
    [256, 1, '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
    [384, 1, 'af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649'],
    [
      512,
      1,
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
    ],
    [256, 2, '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'],
  ])('of %s bits gives what RFC 4231 says, in test case %s', (bits, which, mac) => {
    const [key, text] = CASES[which]!
    const padded = Buffer.alloc(bits / 8)
    hex(key).copy(padded)
    expect(createHmac(`sha${bits}`, padded).update(hex(text)).digest('hex')).toBe(mac)
  })
})

describe('ECDSA', () => {
  const der = (r: string, s: string) => {
    const integer = (value: string) => {
      const bytes = hex(Number.parseInt(value.slice(0, 2), 16) >= 0x80 ? `00${value}` : value)
      return Buffer.concat([Buffer.of(2, bytes.length), bytes])
    }
    const body = Buffer.concat([integer(r), integer(s)])
    return Buffer.concat([Buffer.of(0x30, body.length), body])
  }
  // RFC 6979, A.2.5 and A.2.6, message "sample".
  it.each([
    [
      'prime256v1',
      'P-256',
      'sha256',
      '60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6',
      '7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299',
      'EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716',
      'F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8',
    ],
    [
      'secp384r1',
      'P-384',
      'sha384',
      'EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13',
      '8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720',
      '94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46',
      '99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8',
    ],
  ])('over %s takes the signature of RFC 6979, and none beside it', (curve, crv, algorithm, x, y, r, s) => {
    const jwk = { kty: 'EC', crv, x: hex(x).toString('base64url'), y: hex(y).toString('base64url') }
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'spki' })
    const digest = createHash(algorithm).update('sample').digest()
    expect(verifyDigest(curve, publicKey, digest, der(r, s))).toBe(true)
    expect(verifyDigest(curve, publicKey, digest, der(s, r))).toBe(false)
    expect(verifyDigest(curve, publicKey, createHash(algorithm).update('test').digest(), der(r, s))).toBe(false)
    const zero = '00'.repeat(r.length / 2)
    expect(verifyDigest(curve, publicKey, digest, der(zero, zero))).toBe(false)
  })
})
