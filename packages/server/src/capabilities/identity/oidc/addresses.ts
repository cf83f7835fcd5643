/**
 * Which addresses the server dials for an issuer. Whoever may make an OIDC provider names a host that the server then asks:
 * without a bound they could send it to services that trust its network (docs/decisions/0009-web-identity.md).
 */
import { BlockList, isIP } from 'node:net'

/** `public`: the internet. `private`: also the networks of a site. `loopback`: also this machine, and plain http to it. */
export type IssuerNetworks = 'public' | 'private' | 'loopback'

const listOf = (...subnets: [net: string, prefix: number][]): BlockList => {
  const list = new BlockList()
  for (const [net, prefix] of subnets) list.addSubnet(net, prefix, isIP(net) === 6 ? 'ipv6' : 'ipv4')
  return list
}

const LOOPBACK = listOf(['127.0.0.0', 8], ['::1', 128])
/** RFC 1918, 6598 (carriers and overlay networks) and 4193. */
const PRIVATE = listOf(['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['100.64.0.0', 10], ['fc00::', 7])
/** Link-local (where clouds keep instance credentials), unspecified, multicast, reserved, benchmarks, NAT64 and 6to4. */
const NEVER = listOf(
  ...([
    ['0.0.0.0', 8],
    ['169.254.0.0', 16],
    ['192.0.0.0', 24],
    ['198.18.0.0', 15],
    ['224.0.0.0', 3],
  ] as [string, number][]),
  ...([
    ['::', 128],
    ['fe80::', 10],
    ['ff00::', 8],
    ['64:ff9b::', 32],
    ['2002::', 16],
  ] as [string, number][]),
)

/** Whether the server may connect to this address, which must be one: a name is resolved first. */
export function mayDial(address: string, networks: IssuerNetworks): boolean {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  const plain = mapped ?? address
  const family = isIP(plain)
  if (family === 0) return false
  const isIn = (list: BlockList) => list.check(plain, family === 6 ? 'ipv6' : 'ipv4')
  // The hexadecimal spelling of a mapped address: nobody's resolver writes it.
  if (mapped === undefined && /^::ffff:/i.test(plain)) return false
  if (isIn(NEVER)) return false
  if (isIn(LOOPBACK)) return networks === 'loopback'
  return networks !== 'public' || !isIn(PRIVATE)
}
