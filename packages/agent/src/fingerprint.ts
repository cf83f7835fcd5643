// Whether this is still the machine that was registered. As amazon-ssm-agent does it: a random fingerprint is kept beside
// hashes of what the machine is made of; when too little of that is the same, a new fingerprint is sent, and the control
// plane refuses the copied identity (MachineFingerprintDoesNotMatch).

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { arch, cpus, hostname, networkInterfaces, totalmem } from 'node:os'
import { sha256 } from './transport.ts'

export type MachineTraits = Record<string, string>

/** Share of traits that must agree when the address has changed; amazon-ssm-agent's default. */
const SIMILARITY_THRESHOLD = 0.4

/** Hashes of what tells machines apart; a trait that cannot be read is empty. */
export function machineTraits(): MachineTraits {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const outside = addresses.filter((address) => !address.internal)
  const raw = {
    machineId: readFirst(['/etc/machine-id', '/var/lib/dbus/machine-id']),
    processor: `${arch()} ${cpus()[0]?.model ?? ''} ${cpus().length}`,
    memory: String(totalmem()),
    system: readFirst(['/sys/class/dmi/id/product_uuid']),
    board: readFirst(['/sys/class/dmi/id/board_serial']),
    hostname: hostname(),
    addresses: outside.map((address) => address.address).sort(),
    hardwareAddresses: outside.map((address) => address.mac).sort(),
  }
  return Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [name, value.length === 0 ? '' : sha256(String(value))]),
  )
}

/** The kept fingerprint, or a new one when this cannot be the registered machine. */
export function fingerprintFor(kept: string, then: MachineTraits, now: MachineTraits): string {
  if (then.machineId !== now.machineId) return randomUUID()
  if (then.addresses === now.addresses) return kept
  const names = Object.keys(now)
  const same = names.filter((name) => then[name] === now[name]).length
  return same / names.length >= SIMILARITY_THRESHOLD ? kept : randomUUID()
}

function readFirst(paths: string[]): string {
  for (const path of paths) {
    try {
      return readFileSync(path, 'utf8').trim()
    } catch {
      // Not there, or only root may read it: the trait stays empty, then and now.
    }
  }
  return ''
}
