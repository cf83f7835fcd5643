import { describe, expect, it } from 'vitest'
import { agentSsmOperations, ec2messagesOperations } from './agent-operations.ts'
import { errorBody, errorTraits } from './errors.ts'
import limits from './limits/ssm.json' with { type: 'json' }

describe('an error on the wire', () => {
  it('carries its text in the member that its shape has', () => {
    expect(errorBody('ssm', 'ParameterNotFound', '')).toEqual({
      status: 400,
      body: '{"__type":"ParameterNotFound","message":""}',
    })
    expect(errorBody('ssm', 'TooManyUpdates', 'slow "down"').body).toBe(
      '{"__type":"TooManyUpdates","Message":"slow \\"down\\""}',
    )
    expect(errorBody('sts', 'AccessDeniedException', 'no').body).toBe(
      '{"__type":"AccessDeniedException","message":"no"}',
    )
  })

  it('carries its text for clients all the same when its shape has no member for it', () => {
    expect(errorBody('ssm', 'AssociatedInstances', '').body).toBe('{"__type":"AssociatedInstances"}')
    expect(errorBody('ssm', 'InvalidFilterKey', 'not "Label"').body).toBe(
      '{"__type":"InvalidFilterKey","message":"not \\"Label\\""}',
    )
  })

  it('is 500 for a fault of the server and 400 for one of the client, whatever the query protocol would say', () => {
    expect(errorBody('ssm', 'InternalServerError', 'x').status).toBe(500)
    expect(errorTraits('ssm', 'ParameterNotFound')).toEqual({ status: 400, fault: 'client', messageMember: 'message' })
    expect(errorTraits('ec2messages', 'InternalServerException')?.status).toBe(500)
    expect(errorTraits('ec2messages', 'RequestEntityTooLarge')?.status).toBe(413)
  })

  it('carries further members of its shape and no others', () => {
    const { body } = errorBody('ssm', 'ItemSizeLimitExceededException', 'too big', { TypeName: 'Custom:A', Other: 1 })
    expect(JSON.parse(body)).toEqual({
      __type: 'ItemSizeLimitExceededException',
      TypeName: 'Custom:A',
      Message: 'too big',
    })
  })

  it('that nothing models becomes InternalServerError without its text', () => {
    expect(errorBody('ec2messages', 'ParameterNotFound', 'secret')).toEqual({
      status: 500,
      body: '{"__type":"InternalServerError"}',
    })
  })

  it('is known for every error that an operation is given', () => {
    const ssm = [
      ...Object.values(limits.operations).flatMap((operation) => operation.errors),
      ...Object.values(agentSsmOperations).flatMap((operation) => operation.errors ?? []),
    ]
    for (const name of ssm) expect(errorTraits('ssm', name), name).toBeDefined()
    const messages = Object.values(ec2messagesOperations).flatMap((operation) => operation.errors ?? [])
    for (const name of messages) expect(errorTraits('ec2messages', name), name).toBeDefined()
  })
})
