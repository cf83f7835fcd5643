/** DescribeSessions: what runs and what has been, found by node, owner, moment and state, page by page. */
import { IAM } from '@aws-sdk/client-iam'
import {
  DescribeSessionsCommand,
  type DescribeSessionsCommandInput,
  SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { clientOf, simulatedNode } from './simulated-node.ts'

const SECOND_MS = 1_000

let testbed: Testbed
let account: TestAccount
let ann: SSMClient
/** SessionIds: two of root's on the first node, of which one has ended; then one of Ann's on the second. */
let ended: string
let open: string
let anns: string
let nodes: string[]
let moments: string[]

const now = () => testbed.clock.now().toISOString()

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  const pair = await Promise.all([simulatedNode(testbed, account), simulatedNode(testbed, account)])
  for (const node of pair) await node.connect()
  nodes = pair.map(({ nodeId }) => nodeId)
  const iam = new IAM(account.config)
  await iam.createUser({ UserName: 'ann' })
  const Statement = [{ Effect: 'Allow', Action: 'ssm:*', Resource: '*' }]
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await iam.putUserPolicy({ UserName: 'ann', PolicyName: 'own', PolicyDocument })
  const { AccessKey } = await iam.createAccessKey({ UserName: 'ann' })
  const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
  ann = new SSMClient({ ...account.config, credentials })

  const root = clientOf(testbed, account)
  const start = async (ssm: Pick<SSMClient, 'send'>, Target: string | undefined, Reason?: string) => {
    const { SessionId = '' } = await ssm.send(new StartSessionCommand({ Target, Reason }))
    return SessionId
  }
  const before = now()
  testbed.clock.advance(SECOND_MS)
  ended = await start(root, nodes[0], 'to look around')
  await root.send(new TerminateSessionCommand({ SessionId: ended }))
  testbed.clock.advance(SECOND_MS)
  const between = now()
  testbed.clock.advance(SECOND_MS)
  open = await start(root, nodes[0])
  testbed.clock.advance(SECOND_MS)
  anns = await start(ann, nodes[1])
  testbed.clock.advance(SECOND_MS)
  moments = [before, between, now()]
})
afterAll(() => testbed[Symbol.asyncDispose]())

const list = async (State: 'Active' | 'History', more: Partial<DescribeSessionsCommandInput> = {}) =>
  clientOf(testbed, account).send(new DescribeSessionsCommand({ State, ...more }))

type Filters = NonNullable<DescribeSessionsCommandInput['Filters']>
const found = async (State: 'Active' | 'History', ...filters: [Filters[number]['key'], string][]) => {
  const Filters = filters.length > 0 ? filters.map(([key, value]) => ({ key, value })) : undefined
  return ((await list(State, { Filters })).Sessions ?? []).map(({ SessionId }) => SessionId)
}

describe('DescribeSessions', () => {
  it('tells what runs apart from what has been, the youngest first, with owner and reason', async () => {
    expect(await found('Active')).toEqual([anns, open])
    const { Sessions } = await list('History')
    expect(Sessions).toEqual([
      expect.objectContaining({
        SessionId: ended,
        Target: nodes[0],
        Status: 'Terminated',
        DocumentName: 'SSM-SessionManagerRunShell',
        Owner: `arn:aws:iam::${account.account}:root`,
        Reason: 'to look around',
        StartDate: expect.any(Date),
        EndDate: expect.any(Date),
      }),
    ])
  })

  it('finds by each filter, and by all of them together', async () => {
    const owner = `arn:aws:iam::${account.account}:user/ann`
    const [before = '', between = '', after = ''] = moments
    expect(await found('Active', ['Target', nodes[0]!])).toEqual([open])
    expect(await found('Active', ['Owner', owner])).toEqual([anns])
    expect(await found('Active', ['SessionId', open])).toEqual([open])
    expect(await found('History', ['SessionId', open])).toEqual([])
    expect(await found('Active', ['Status', 'Connecting'])).toEqual([anns, open])
    expect(await found('Active', ['Status', 'Connected'])).toEqual([])
    expect(await found('Active', ['Status', 'Terminated'])).toEqual([]) // not of what runs
    expect(await found('History', ['Status', 'Terminated'])).toEqual([ended])
    expect(await found('History', ['InvokedAfter', before])).toEqual([ended])
    expect(await found('History', ['InvokedAfter', between])).toEqual([])
    expect(await found('History', ['InvokedBefore', between])).toEqual([ended])
    expect(await found('Active', ['InvokedAfter', between])).toEqual([anns, open])
    expect(await found('Active', ['InvokedBefore', between])).toEqual([])
    expect(await found('Active', ['InvokedAfter', after])).toEqual([])
    expect(await found('Active', ['AccessType', 'Standard'])).toEqual([anns, open])
    expect(await found('Active', ['AccessType', 'JustInTime'])).toEqual([])
    expect(await found('Active', ['Target', nodes[1]!], ['Owner', owner], ['InvokedBefore', after])).toEqual([anns])
    expect(await found('Active', ['Target', nodes[0]!], ['Owner', owner])).toEqual([])
  })

  it('refuses moments that are none', async () => {
    expect(await refusal(found('Active', ['InvokedAfter', 'yesterday']))).toMatchObject({ name: 'InvalidFilterKey' })
  })

  it('gives one page after the other, each session once, and takes no other list’s token', async () => {
    const first = await list('Active', { MaxResults: 1 })
    expect(first.Sessions?.map(({ SessionId }) => SessionId)).toEqual([anns])
    const second = await list('Active', { MaxResults: 1, NextToken: first.NextToken })
    expect(second.Sessions?.map(({ SessionId }) => SessionId)).toEqual([open])
    expect(second.NextToken).toBeUndefined()
    expect(await refusal(list('History', { NextToken: first.NextToken }))).toMatchObject({ name: 'InvalidNextToken' })
  })

  it('tells nothing of other accounts', async () => {
    const other = await testbed.account()
    const { Sessions } = await clientOf(testbed, other).send(new DescribeSessionsCommand({ State: 'Active' }))
    expect(Sessions).toEqual([])
  })
})
