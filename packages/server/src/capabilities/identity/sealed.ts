/** What identity keeps sealed, for a change of the root key. */
import type { SealedColumn } from '../../platform/seal.ts'

export const sealed: SealedColumn[] = [
  {
    table: 'installation',
    column: 'root_key_check',
    key: { only_row: 'boolean' },
    purpose: 'installation',
    boundTo: () => 'root key check',
  },
  {
    table: 'access_keys',
    column: 'secret_sealed',
    key: { access_key_id: 'text' },
    purpose: 'access key',
    boundTo: ({ access_key_id: id = '' }) => id,
  },
  {
    table: 'mfa_devices',
    column: 'seed_sealed',
    key: { serial_number: 'text' },
    purpose: 'mfa seed',
    boundTo: ({ serial_number: serial = '' }) => serial,
  },
]
