/** What of the trail lies sealed under the root key: ends of segments and chains, anchors, the roll, keys of digests. */
import type { SealedColumn } from '../../platform/seal.ts'
import { ROLL_NAME, ROLL_PURPOSE } from './roll.ts'
import { SIGNING_PURPOSE } from './signing-keys.ts'
import { chainName, SEAL_PURPOSE, segmentName } from './writer.ts'

const scopeOf = (row: Record<string, string>) => ({ account: row.account ?? '', region: row.region ?? '' })

export const sealed: SealedColumn[] = [
  {
    table: 'trail_segments',
    column: 'seal',
    key: { account: 'text', region: 'text', last_seq: 'bigint' },
    purpose: SEAL_PURPOSE.segment,
    boundTo: (row) => segmentName(scopeOf(row), Number(row.last_seq)),
  },
  {
    table: 'trail_chains',
    column: 'seal',
    key: { account: 'text', region: 'text' },
    purpose: SEAL_PURPOSE.head,
    boundTo: (row) => chainName(scopeOf(row)),
  },
  {
    table: 'trail_chains',
    column: 'anchor_seal',
    key: { account: 'text', region: 'text' },
    purpose: SEAL_PURPOSE.anchor,
    boundTo: (row) => chainName(scopeOf(row)),
  },
  {
    table: 'trail_roll',
    column: 'seal',
    key: { only_row: 'boolean' },
    purpose: ROLL_PURPOSE,
    boundTo: () => ROLL_NAME,
  },
  {
    table: 'trail_signing_keys',
    column: 'private_key',
    key: { fingerprint: 'text' },
    purpose: SIGNING_PURPOSE,
    boundTo: (row) => row.fingerprint ?? '',
  },
]
