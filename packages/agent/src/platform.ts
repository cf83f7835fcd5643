// What this machine is, in the words of UpdateInstanceInformation and of document preconditions.

import { readFileSync } from 'node:fs'
import { hostname, networkInterfaces, release } from 'node:os'

export const AGENT_NAME = 'amazon-ssm-agent'
/** Our own number in the form of the official one: four numbers, at least 5 characters. */
export const AGENT_VERSION = '0.1.0.0'

export interface Platform {
  type: 'Linux' | 'MacOS' | 'Windows'
  name: string
  version: string
  computerName: string
  ipAddress: string
}

export function readPlatform(): Platform {
  const type = process.platform === 'darwin' ? 'MacOS' : process.platform === 'win32' ? 'Windows' : 'Linux'
  const system = type === 'Linux' ? linuxRelease() : { name: type, version: release() }
  return { type, ...system, computerName: hostname(), ipAddress: firstAddress() }
}

function linuxRelease(): { name: string; version: string } {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      const text = readFileSync(path, 'utf8')
      return { name: member(text, 'NAME') ?? 'Linux', version: member(text, 'VERSION_ID') ?? release() }
    } catch {
      // Some small systems have only the second one, some have neither.
    }
  }
  return { name: 'Linux', version: release() }
}

function member(text: string, name: string): string | undefined {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}=`))
  return line?.slice(name.length + 1).replace(/^["']|["']$/g, '')
}

/** The first IPv4 address that others can reach, else the first IPv6 one, else the loopback. */
function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const outside = all.filter((address) => !address.internal)
  const chosen = outside.find((address) => address.family === 'IPv4') ?? outside[0]
  return chosen?.address ?? '127.0.0.1'
}
