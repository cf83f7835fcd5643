/**
 * ECDSA over a digest that was made elsewhere: OpenSSL as Node shows it always hashes first. Points times secrets are done
 * by OpenSSL (ECDH), in constant time; what remains with secrets is one multiplication and one inversion modulo the order,
 * both blinded. Verifying handles nothing secret. FIPS 186-5, section 6.4.
 */
import { createECDH, createPrivateKey, createPublicKey, type JsonWebKey, randomBytes } from 'node:crypto'

interface Curve {
  p: bigint
  a: bigint
  n: bigint
  g: Point
  bytes: number
}
/** Jacobian; z 0 is the point at infinity. */
type Jacobian = readonly [x: bigint, y: bigint, z: bigint]
type Point = readonly [x: bigint, y: bigint]

const curve = (p: string, a: bigint, n: string, gx: string, gy: string, bytes: number): Curve => ({
  p: BigInt(`0x${p}`),
  a,
  n: BigInt(`0x${n}`),
  g: [BigInt(`0x${gx}`), BigInt(`0x${gy}`)],
  bytes,
})

/** Domain parameters of SEC 2, version 2. */
const CURVES: Record<string, Curve> = {
  prime256v1: curve(
    'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff',
    -3n,
    'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
    '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
    '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
    32,
  ),
  secp256k1: curve(
    'fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f',
    0n,
    'fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141',
    '79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798',
    '483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8',
    32,
  ),
  secp384r1: curve(
    'fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff',
    -3n,
    'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
    'aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7',
    '3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f',
    48,
  ),
  secp521r1: curve(
    `01${'ff'.repeat(65)}`,
    -3n,
    `01${'ff'.repeat(32)}fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409`,
    '00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66',
    '011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650',
    66,
  ),
}

const toInt = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex') || '0'}`)
const toBytes = (value: bigint, length: number): Buffer =>
  Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex')
const mod = (value: bigint, by: bigint): bigint => ((value % by) + by) % by

function inverse(value: bigint, by: bigint): bigint {
  let [a, b, x, y] = [mod(value, by), by, 1n, 0n]
  while (a > 1n) {
    const quotient = a / b
    ;[a, b] = [b, a - quotient * b]
    ;[x, y] = [y, x - quotient * y]
    if (b === 0n) break
  }
  return mod(x, by)
}

function randomBelow(n: bigint, bytes: number): bigint {
  for (;;) {
    const bits = n.toString(2).length
    const value = toInt(randomBytes(bytes)) & ((1n << BigInt(bits)) - 1n)
    if (value > 0n && value < n) return value
  }
}

/** The leftmost bits of the digest, as many as the order has. */
function digestInt(digest: Uint8Array, n: bigint): bigint {
  const excess = digest.length * 8 - n.toString(2).length
  return excess > 0 ? toInt(digest) >> BigInt(excess) : toInt(digest)
}

const curveOf = (name: string): Curve => {
  const found = CURVES[name]
  if (!found) throw new Error(`there is no curve ${name}`)
  return found
}

const member = (jwk: JsonWebKey, name: 'x' | 'y' | 'd'): bigint => toInt(Buffer.from(jwk[name] ?? '', 'base64url'))

/** The signature in DER. `privateKey`: PKCS #8. */
export function signDigest(name: string, privateKey: Buffer, digest: Uint8Array): Buffer {
  const { n, bytes } = curveOf(name)
  const d = member(createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' }).export({ format: 'jwk' }), 'd')
  const e = digestInt(digest, n)
  for (;;) {
    const k = randomBelow(n, bytes)
    const ecdh = createECDH(name)
    ecdh.setPrivateKey(toBytes(k, bytes))
    const r = toInt(ecdh.getPublicKey().subarray(1, 1 + bytes)) % n
    const blind = randomBelow(n, bytes)
    const s = mod(inverse(mod(k * blind, n), n) * mod(blind * e + mod(blind * d, n) * r, n), n)
    if (r > 0n && s > 0n) return derOf(r, s)
  }
}

/** `publicKey`: SubjectPublicKeyInfo. */
export function verifyDigest(name: string, publicKey: Buffer, digest: Uint8Array, signature: Uint8Array): boolean {
  const parsed = readDer(Buffer.from(signature))
  if (!parsed) return false
  const found = curveOf(name)
  const { n, p, g } = found
  const [r, s] = parsed
  if (r <= 0n || r >= n || s <= 0n || s >= n) return false
  const jwk = createPublicKey({ key: publicKey, format: 'der', type: 'spki' }).export({ format: 'jwk' })
  const w = inverse(s, n)
  const u1 = mod(digestInt(digest, n) * w, n)
  const u2 = mod(r * w, n)
  const [x, , z] = sumOfProducts(found, u1, g, u2, [member(jwk, 'x'), member(jwk, 'y')])
  if (z === 0n) return false
  const zInverse = inverse(z, p)
  return mod(mod(x * zInverse * zInverse, p), n) === r
}

// ---- points ----

function double([x, y, z]: Jacobian, { p, a }: Curve): Jacobian {
  if (z === 0n || y === 0n) return [0n, 1n, 0n]
  const yy = (y * y) % p
  const s = (4n * x * yy) % p
  const zz = (z * z) % p
  const m = mod(3n * x * x + a * zz * zz, p)
  const x3 = mod(m * m - 2n * s, p)
  return [x3, mod(m * (s - x3) - 8n * yy * yy, p), (2n * y * z) % p]
}

function add(one: Jacobian, other: Jacobian, of: Curve): Jacobian {
  if (one[2] === 0n) return other
  if (other[2] === 0n) return one
  const { p } = of
  const [x1, y1, z1] = one
  const [x2, y2, z2] = other
  const zz1 = (z1 * z1) % p
  const zz2 = (z2 * z2) % p
  const u1 = (x1 * zz2) % p
  const s1 = (y1 * zz2 * z2) % p
  const h = mod(x2 * zz1 - u1, p)
  const r = mod(y2 * zz1 * z1 - s1, p)
  if (h === 0n) return r === 0n ? double(one, of) : [0n, 1n, 0n]
  const hh = (h * h) % p
  const hhh = (hh * h) % p
  const v = (u1 * hh) % p
  const x3 = mod(r * r - hhh - 2n * v, p)
  return [x3, mod(r * (v - x3) - s1 * hhh, p), (h * z1 * z2) % p]
}

/** u1·P + u2·Q, bit by bit together (Shamir's trick). */
function sumOfProducts(of: Curve, u1: bigint, one: Point, u2: bigint, other: Point): Jacobian {
  const p1: Jacobian = [...one, 1n]
  const p2: Jacobian = [...other, 1n]
  const both = add(p1, p2, of)
  const bits = of.n.toString(2).length
  const [b1, b2] = [u1.toString(2).padStart(bits, '0'), u2.toString(2).padStart(bits, '0')]
  let sum: Jacobian = [0n, 1n, 0n]
  for (let bit = 0; bit < bits; bit++) {
    sum = double(sum, of)
    const [first, second] = [b1[bit] === '1', b2[bit] === '1']
    if (first && second) sum = add(sum, both, of)
    else if (first) sum = add(sum, p1, of)
    else if (second) sum = add(sum, p2, of)
  }
  return sum
}

// ---- DER: SEQUENCE { INTEGER r, INTEGER s } ----

function derInteger(value: bigint): Buffer {
  let bytes = Buffer.from(value.toString(16).replace(/^(?=(..)*.$)/, '0'), 'hex')
  if (bytes[0]! & 0x80) bytes = Buffer.concat([Buffer.of(0), bytes])
  return Buffer.concat([Buffer.of(2, bytes.length), bytes])
}

function derOf(r: bigint, s: bigint): Buffer {
  const body = Buffer.concat([derInteger(r), derInteger(s)])
  const length = body.length < 0x80 ? Buffer.of(body.length) : Buffer.of(0x81, body.length)
  return Buffer.concat([Buffer.of(0x30), length, body])
}

/** Only the one DER encoding of a pair: another spelling of the same numbers is no signature. */
function readDer(signature: Buffer): [bigint, bigint] | undefined {
  const header = signature[1] === 0x81 ? 3 : 2
  const first = signature.subarray(header)
  const firstLength = first[1] ?? 0
  const second = first.subarray(2 + firstLength)
  if (first[0] !== 2 || second[0] !== 2 || firstLength === 0) return undefined
  const pair: [bigint, bigint] = [
    toInt(first.subarray(2, 2 + firstLength)),
    toInt(second.subarray(2, 2 + (second[1] ?? 0))),
  ]
  return derOf(...pair).equals(signature) ? pair : undefined
}
