/** What keys keep sealed, for a change of the root key. */
import type { SealedColumn } from '../../platform/seal.ts'
import { DIGEST_PURPOSE } from './imports.ts'
import { MATERIAL_PURPOSE, nameOfMaterial } from './material.ts'
import { keyArn } from './resolve.ts'

const keyOf = ({ account = '', region = '', key_id: keyId = '' }: Record<string, string>) => ({
  account,
  region,
  keyId,
})

export const sealed: SealedColumn[] = [
  {
    table: 'key_versions',
    column: 'sealed_material',
    key: { account: 'text', region: 'text', key_id: 'uuid', version: 'integer' },
    purpose: MATERIAL_PURPOSE,
    boundTo: (row) => nameOfMaterial(keyOf(row), keyOf(row).keyId, Number(row.version)),
  },
  {
    table: 'keys',
    column: 'imported_digest',
    key: { account: 'text', region: 'text', key_id: 'uuid' },
    purpose: DIGEST_PURPOSE,
    boundTo: (row) => keyArn(keyOf(row)),
  },
]
