import { describe, expect, it } from 'vitest'
import { anonymous } from '../../platform/caller.ts'
import { type Access, free } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { authorize } from './dispatch.ts'

/** Of somebody who may do everything. */
const asked = (access: Access | Access[]) => {
  const authorizer = { decide: async () => undefined, allows: async () => true }
  return authorize({ authorizer }, { caller: anonymous } as Context, 'ssm:GetParameters', access)
}

describe('a call', () => {
  it('that names no resource is refused to everybody, whatever he may do', async () => {
    const refused = { name: 'AccessDeniedException', message: expect.stringContaining('names no resource') }
    await expect(asked([])).rejects.toMatchObject(refused)
    await expect(asked({ resources: [] })).rejects.toMatchObject(refused)
    await expect(asked([{ resources: ['*'] }, { resources: [] }])).rejects.toMatchObject(refused)
  })

  it('that says why it needs no permission is let in', async () => {
    await asked(free('the token is the proof'))
    await asked([{ resources: ['*'] }, free('the token is the proof')])
  })
})
