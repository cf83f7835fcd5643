// The JSON of the control channel: exact spelling out, any case in, and payloads that are not what they say.

import {
  AGENT_JOB_STATUS,
  type AgentJobStatus,
  agentJobOutcome,
  buildAgentJob,
  buildAgentJobAck,
  buildAgentJobReply,
  buildAgentJobReplyAck,
  buildAgentTaskAcknowledge,
  buildAgentTaskComplete,
  buildCancelCommandPayload,
  buildChannelClosed,
  buildChannelToken,
  buildCreateChannelRequest,
  buildInteractiveShell,
  buildJobId,
  buildOpenControlChannel,
  buildReplyPayload,
  buildSendCommandPayload,
  type JsonObject,
  PayloadError,
  parseAgentJob,
  parseAgentJobAck,
  parseAgentJobReply,
  parseAgentJobReplyAck,
  parseAgentTaskAcknowledge,
  parseAgentTaskComplete,
  parseCancelCommandPayload,
  parseChannelClosed,
  parseChannelToken,
  parseCreateChannelRequest,
  parseInteractiveShell,
  parseJobId,
  parseOpenControlChannel,
  parseReplyPayload,
  parseSendCommandPayload,
  RESULT_STATUSES,
  type ReplyPayload,
  TASK_STATUSES,
  topicKind,
} from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const text = (payload: Uint8Array | string) =>
  typeof payload === 'string' ? payload : new TextDecoder('utf-8', { fatal: true }).decode(payload)

const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
const anyText = fc.string({ unit: 'grapheme', maxLength: 12 })
const jobId = fc.tuple(fc.uuid(), fc.stringMatching(/^mi-[0-9a-f]{17}$/)).map(([c, i]) => buildJobId(c, i))
const object = fc
  .dictionary(anyText, fc.oneof(anyText, fc.integer(), fc.boolean(), fc.array(anyText, { maxLength: 3 })), {
    maxKeys: 4,
  })
  // Built by assignment a `__proto__` key would vanish: JSON makes it a member like any other.
  .map((value): JsonObject => JSON.parse(JSON.stringify(value)))

const plugin = fc.record({
  status: fc.constantFrom(...RESULT_STATUSES),
  code: fc.integer(),
  name: anyText,
  output: anyText,
  startDateTime: anyText,
  endDateTime: anyText,
  outputS3BucketName: anyText,
  outputS3KeyPrefix: anyText,
  stepName: anyText,
  standardOutput: anyText,
  standardError: anyText,
})
const byName = <Value>(value: fc.Arbitrary<Value>) =>
  fc
    .array(fc.tuple(fc.oneof(fc.constant('__proto__'), anyText), value), { maxLength: 3 })
    .map(Object.fromEntries<Value>)
const reply: fc.Arbitrary<ReplyPayload> = fc.record({
  additionalInfo: fc.record({
    agent: fc.record({ lang: anyText, name: anyText, os: anyText, osver: anyText, ver: anyText }),
    dateTime: anyText,
    runId: anyText,
    runtimeStatusCounts: byName(fc.nat()),
  }),
  documentStatus: fc.constantFrom(...RESULT_STATUSES),
  documentTraceOutput: anyText,
  runtimeStatus: byName(plugin),
})

/** Both halves of a codec: what goes in comes out, in whatever case its keys arrive, and all else is a PayloadError. */
function twin<Value>(
  name: string,
  values: fc.Arbitrary<Value>,
  build: (value: Value) => Uint8Array | string,
  parse: (payload: Uint8Array | string) => unknown,
  expected: (value: Value) => unknown = (same) => same,
): void {
  describe(name, () => {
    it('comes back as it went, as text and as bytes', () => {
      fc.assert(
        fc.property(values, (value) => {
          const payload = build(value)
          expect(parse(payload)).toEqual(expected(value))
          expect(parse(new TextEncoder().encode(text(payload)))).toEqual(expected(value))
        }),
      )
    })

    it('is understood with its keys in any case', () => {
      fc.assert(
        fc.property(values, (value) => {
          const members = Object.entries(JSON.parse(text(build(value))))
          const shouted = Object.fromEntries(members.map(([key, member]) => [key.toUpperCase(), member]))
          expect(parse(JSON.stringify(shouted))).toEqual(expected(value))
        }),
        { numRuns: 20 },
      )
    })

    it('is a PayloadError, never a crash, when a member is lost or of another type, or when it is no JSON at all', () => {
      fc.assert(
        fc.property(values, fc.nat(), fc.option(fc.jsonValue()), fc.string(), (value, which, other, noise) => {
          const payload = text(build(value))
          const members: JsonObject = JSON.parse(payload)
          const keys = Object.keys(members)
          const key = keys[which % keys.length] as string
          const changed = JSON.stringify({ ...members, [key]: other })
          for (const attempt of [changed, noise, payload.slice(0, which % payload.length), JSON.stringify(other)]) {
            refusedOrRead(() => parse(attempt))
          }
          refusedOrRead(() => parse(Uint8Array.of(0xff, 0xfe, which & 0xff)))
        }),
      )
    })
  })
}

function refusedOrRead(attempt: () => unknown): void {
  try {
    attempt()
  } catch (error) {
    expect(error).toBeInstanceOf(PayloadError)
  }
}

twin(
  'OpenControlChannel',
  fc.record({ RequestId: anyText, TokenValue: word, AgentVersion: anyText, PlatformType: anyText }),
  buildOpenControlChannel,
  parseOpenControlChannel,
  (open) => ({ MessageSchemaVersion: '1.0', ...open }),
)
twin(
  'a channel request',
  fc.record({ id: anyText, client: fc.option(anyText, { nil: undefined }) }),
  ({ id, client }) => buildCreateChannelRequest(id, client),
  parseCreateChannelRequest,
  ({ id, client }) => ({ MessageSchemaVersion: '1.0', RequestId: id, ClientId: client }),
)
twin('agent_job', fc.record({ JobId: jobId, Topic: word, Content: anyText }), buildAgentJob, parseAgentJob, (job) => ({
  SchemaVersion: 1,
  ...job,
}))
twin(
  'a sendCommand content',
  fc.record({
    CommandId: word,
    DocumentName: anyText,
    Parameters: object,
    DocumentContent: object,
    OutputS3BucketName: anyText,
    OutputS3KeyPrefix: anyText,
    CloudWatchLogGroupName: anyText,
    CloudWatchOutputEnabled: fc.boolean(),
  }),
  buildSendCommandPayload,
  parseSendCommandPayload,
)
twin(
  'a cancelCommand content',
  fc.record({ CancelMessageId: jobId }),
  buildCancelCommandPayload,
  parseCancelCommandPayload,
)
twin(
  'agent_job_ack',
  fc.record({
    jobId,
    acknowledgedMessageId: fc.uuid(),
    createdDate: anyText,
    status: fc.constantFrom(...(Object.keys(AGENT_JOB_STATUS) as AgentJobStatus[])),
  }),
  buildAgentJobAck,
  parseAgentJobAck,
  ({ status, ...ack }) => ({ ...ack, statusCode: AGENT_JOB_STATUS[status], errorMessage: status }),
)
twin(
  'agent_job_reply',
  fc.record({ jobId, content: anyText, topic: anyText }),
  buildAgentJobReply,
  parseAgentJobReply,
  (r) => ({
    schemaVersion: 1,
    ...r,
  }),
)
twin('a reply content', reply, buildReplyPayload, parseReplyPayload)
twin(
  'agent_job_reply_ack',
  fc.record({ jobId, acknowledgedMessageId: fc.uuid() }),
  buildAgentJobReplyAck,
  parseAgentJobReplyAck,
)
twin(
  'interactive_shell',
  fc.record({
    SessionId: word,
    DocumentName: anyText,
    DocumentContent: object,
    Parameters: object,
    RunAsUser: anyText,
    SessionOwner: anyText,
  }),
  buildInteractiveShell,
  parseInteractiveShell,
)
twin(
  'channel_closed',
  fc.record({
    MessageId: fc.uuid(),
    DestinationId: anyText,
    SessionId: word,
    CreatedDate: fc.nat(),
    Output: anyText,
  }),
  buildChannelClosed,
  parseChannelClosed,
)
twin(
  'agent_task_complete',
  fc.record({
    TaskId: word,
    FinalTaskStatus: fc.constantFrom(...TASK_STATUSES),
    IsRoutingFailure: fc.boolean(),
    AwsAccountId: anyText,
    InstanceId: anyText,
    Output: anyText,
    S3Bucket: anyText,
    S3UrlSuffix: anyText,
    CwlGroup: anyText,
    CwlStream: anyText,
    RetryNumber: fc.integer({ min: 1, max: 3 }),
  }),
  buildAgentTaskComplete,
  parseAgentTaskComplete,
)
twin(
  'agent_task_acknowledge',
  fc.record({ MessageId: fc.uuid(), TaskId: anyText }),
  buildAgentTaskAcknowledge,
  parseAgentTaskAcknowledge,
)

describe('the spelling that the official peers read', () => {
  it('of a command and its cancel', () => {
    const id = buildJobId('c1', 'mi-1')
    const content = buildSendCommandPayload({
      CommandId: 'c1',
      DocumentName: 'AWS-RunShellScript',
      Parameters: { commands: ['ls'] },
      DocumentContent: { schemaVersion: '2.2' },
      OutputS3BucketName: '',
      OutputS3KeyPrefix: '',
      CloudWatchLogGroupName: '',
      CloudWatchOutputEnabled: false,
    })
    expect(content).toBe(
      '{"Parameters":{"commands":["ls"]},"DocumentContent":{"schemaVersion":"2.2"},"CommandId":"c1",' +
        '"DocumentName":"AWS-RunShellScript","OutputS3BucketName":"","OutputS3KeyPrefix":"",' +
        '"CloudWatchLogGroupName":"","CloudWatchOutputEnabled":"false"}',
    )
    expect(text(buildAgentJob({ JobId: id, Topic: 'aws.ssm.sendCommand', Content: '{}' }))).toBe(
      '{"SchemaVersion":1,"JobId":"aws.ssm.c1.mi-1","Topic":"aws.ssm.sendCommand","Content":"{}"}',
    )
    expect(buildCancelCommandPayload({ CancelMessageId: id })).toBe('{"CancelMessageId":"aws.ssm.c1.mi-1"}')
  })

  it('of acknowledgements', () => {
    expect(
      text(
        buildAgentJobAck({
          jobId: 'j',
          acknowledgedMessageId: 'm',
          createdDate: '2026-11-23T18:50:32.321Z',
          status: 'Successful',
        }),
      ),
    ).toBe(
      '{"jobId":"j","acknowledgedMessageId":"m","createdDate":"2026-11-23T18:50:32.321Z","statusCode":"200","errorMessage":"Successful"}',
    )
    expect(text(buildAgentJobReplyAck({ jobId: 'j', acknowledgedMessageId: 'm' }))).toBe(
      '{"jobId":"j","acknowledgedMessageId":"m"}',
    )
    expect(text(buildAgentTaskAcknowledge({ MessageId: 'm', TaskId: 's' }))).toBe(
      '{"SchemaVersion":1,"MessageId":"m","TaskId":"s","Topic":"agent_task_complete"}',
    )
  })

  it('of a session and its end', () => {
    const shell = JSON.parse(
      text(
        buildInteractiveShell({
          SessionId: 's-1',
          DocumentName: 'SSM-SessionManagerRunShell',
          DocumentContent: { schemaVersion: '1.0' },
          Parameters: { portNumber: '80' },
          RunAsUser: '',
          SessionOwner: 'arn:aws:iam::123456789012:user/a',
        }),
      ),
    )
    expect(Object.keys(shell)).toEqual(['SchemaVersion', 'TaskId', 'Topic', 'Content'])
    expect(JSON.parse(shell.Content)).toMatchObject({ SessionId: 's-1', Parameters: { portNumber: '80' } })
    expect(
      text(
        buildChannelClosed({
          MessageId: 'm',
          DestinationId: 'mi-1',
          SessionId: 's-1',
          CreatedDate: 1503434274948,
          Output: '',
        }),
      ),
    ).toBe(
      '{"MessageType":"channel_closed","MessageId":"m","DestinationId":"mi-1","SessionId":"s-1","SchemaVersion":1,"CreatedDate":"1503434274948"}',
    )
  })

  it('of the first frame', () => {
    expect(
      buildOpenControlChannel({ RequestId: 'r', TokenValue: 't', AgentVersion: '3.3.0.0', PlatformType: 'linux' }),
    ).toBe(
      '{"Cookie":null,"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"t","AgentVersion":"3.3.0.0","PlatformType":"linux"}',
    )
    expect(buildCreateChannelRequest('r')).toBe('{"MessageSchemaVersion":"1.0","RequestId":"r"}')
    expect(buildCreateChannelRequest('r', '')).toBe('{"MessageSchemaVersion":"1.0","RequestId":"r","ClientId":""}')
  })
})

describe('replies of the official agent', () => {
  it('may have null where there is nothing', () => {
    const parsed = parseReplyPayload(
      '{"additionalInfo":{"agent":{"lang":"en-US","name":"amazon-ssm-agent","os":"linux","osver":"1","ver":"3.3.0.0"},' +
        '"dateTime":"2026-11-23T18:50:32.321Z","runId":"","runtimeStatusCounts":null},' +
        '"documentStatus":"InProgress","documentTraceOutput":"","runtimeStatus":null}',
    )
    expect(parsed.documentStatus).toBe('InProgress')
    expect(parsed.runtimeStatus).toEqual({})
    expect(parsed.additionalInfo.runtimeStatusCounts).toEqual({})
  })

  it('are refused by the member that is wrong, without quoting the payload', () => {
    expect(() => parseReplyPayload('{"documentStatus":"Lost"}')).toThrow(
      expect.objectContaining({ name: 'PayloadError', member: 'documentStatus' }),
    )
    expect(() => parseAgentJob('{"JobId":7,"Topic":"t","Content":"c"}')).toThrow(
      expect.objectContaining({ messageType: 'agent_job', member: 'JobId' }),
    )
    expect(() => parseAgentJob('secret')).toThrow(expect.not.stringContaining('secret'))
  })
})

describe('job ids, topics and answers', () => {
  it('go there and back', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[^.]+$/), fc.stringMatching(/^[^.]+$/), (commandId, instanceId) => {
        expect(parseJobId(buildJobId(commandId, instanceId))).toEqual({ commandId, instanceId })
      }),
    )
  })

  it.each(['', 'aws.ssm', 'aws.ssm.c', 'aws.ssm.c.', 'aws.ssm..i', 'aws.ssm.c.i.j', 'aws.sns.c.i', 'c.i'])(
    'are refused as %s',
    (value) => {
      expect(() => parseJobId(value)).toThrow(PayloadError)
    },
  )

  it('cannot be made of ids with dots', () => {
    expect(() => buildJobId('a.b', 'i')).toThrow(PayloadError)
    expect(() => buildJobId('a', '')).toThrow(PayloadError)
  })

  it('know a topic by its beginning', () => {
    expect(topicKind('aws.ssm.sendCommand.us-east-1')).toBe('sendCommand')
    expect(topicKind('aws.ssm.cancelCommand')).toBe('cancelCommand')
    expect(topicKind('aws.ssm.other')).toBeUndefined()
  })

  it('are offered again only where the agent may take them later', () => {
    expect(['200', '51405'].map(agentJobOutcome)).toEqual(['delivered', 'delivered'])
    expect(['51401', '51402', '51403'].map(agentJobOutcome)).toEqual(['redeliver', 'redeliver', 'redeliver'])
    expect(['51404', '51406', '51407', '51408', '51499', ''].map(agentJobOutcome)).toEqual(Array(6).fill('rejected'))
  })
})

describe('a channel token', () => {
  it('survives its XML, whatever it holds', () => {
    fc.assert(
      fc.property(fc.constantFrom('Control' as const, 'Data' as const), fc.string(), (channel, token) => {
        expect(parseChannelToken(buildChannelToken(channel, token))).toBe(token)
      }),
    )
  })

  it('is missed when it is not there', () => {
    expect(() => parseChannelToken('<AccessDeniedException/>')).toThrow(PayloadError)
  })
})
