/**
 * IPv4 and IPv6 addresses and CIDR ranges for IpAddress and NotIpAddress.
 * An address is its 16-bit groups: two for IPv4, eight for IPv6; an IPv4 address inside IPv6 (::ffff:a.b.c.d) is IPv4.
 */

export type Address = readonly number[]
export interface AddressRange {
  readonly address: Address
  readonly prefixBits: number
}

const OCTET = /^(0|[1-9]\d{0,2})$/
const GROUP = /^[0-9a-f]{1,4}$/i

export function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** `203.0.113.0/24`, `2001:db8::/32`, or one address. */
export function parseAddressRange(text: string): AddressRange | undefined {
  const [base = '', prefix, ...more] = text.split('/')
  const address = parseAddress(base)
  if (address === undefined || more.length > 0) return undefined
  const bits = address.length * 16
  if (prefix === undefined) return { address, prefixBits: bits }
  if (!/^\d{1,3}$/.test(prefix)) return undefined
  // ::ffff:10.0.0.0/104 counts the 96 bits before the IPv4 part.
  const prefixBits = address.length === 2 && base.includes(':') ? Number(prefix) - 96 : Number(prefix)
  return prefixBits >= 0 && prefixBits <= bits ? { address, prefixBits } : undefined
}

export const isAddressRange = (text: string): boolean => parseAddressRange(text) !== undefined

export function isWithin(address: Address, range: AddressRange): boolean {
  if (address.length !== range.address.length) return false
  let left = range.prefixBits
  for (let group = 0; left > 0; group++, left -= 16) {
    const differing = (address[group] ?? 0) ^ (range.address[group] ?? 0)
    if (differing >> (left >= 16 ? 0 : 16 - left) !== 0) return false
  }
  return true
}

function parseV4(text: string): Address | undefined {
  const octets = text.split('.')
  if (octets.length !== 4 || !octets.every((octet) => OCTET.test(octet) && Number(octet) <= 255)) return undefined
  const [a = 0, b = 0, c = 0, d = 0] = octets.map(Number)
  return [a * 256 + b, c * 256 + d]
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map(groupsOf)
  if (head === undefined) return undefined
  if (halves.length === 1) return head.length === 8 ? unwrapped(head) : undefined
  if (tail === undefined || head.length + tail.length > 7) return undefined
  return unwrapped([...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail])
}

function groupsOf(text: string): number[] | undefined {
  if (text === '') return []
  const parts = text.split(':')
  const groups: number[] = []
  for (const [index, part] of parts.entries()) {
    const v4 = index === parts.length - 1 && part.includes('.') ? parseV4(part) : undefined
    if (v4 !== undefined) groups.push(...v4)
    else if (GROUP.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

function unwrapped(groups: number[]): Address {
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  return isMapped ? groups.slice(6) : groups
}
