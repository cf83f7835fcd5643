import { describe, expect, it } from 'vitest'
import { AwsError } from '../platform/errors.ts'
import { assertModelled, ContractError, decode, encode, REDACTED, redact, redactOutput } from './check.ts'
import { findOperation, isModelled, operation } from './model.ts'
import type { OperationModel } from './shape.ts'

const refusal = (of: OperationModel, json: unknown): string => {
  try {
    decode(of, json)
  } catch (error) {
    if (error instanceof ContractError) return `${error.name}: ${error.message}`
    throw error
  }
  return 'accepted'
}
const validation = (...errors: string[]): string =>
  `ValidationException: ${errors.length} validation error${errors.length === 1 ? '' : 's'} detected: ${errors.join('; ')}`

const put = operation('ssm', 'PutParameter')
const send = operation('ssm', 'SendCommand')
const document = { DocumentName: 'AWS-RunShellScript' }

describe('a broken limit is named as AWS names it', () => {
  it('when required members are missing, one by one in the order of declaration', () => {
    expect(refusal(put, {})).toBe(
      validation(
        "Value null at 'name' failed to satisfy constraint: Member must not be null",
        "Value null at 'value' failed to satisfy constraint: Member must not be null",
      ),
    )
  })

  it('when a list is too long', () => {
    const names = Array.from({ length: 11 }, (_, index) => `n${index}`)
    expect(refusal(operation('ssm', 'GetParameters'), { Names: names })).toBe(
      validation(
        "Value '[n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10",
      ),
    )
  })

  it('when a list is empty', () => {
    expect(refusal(operation('ssm', 'GetParameters'), { Names: [] })).toBe(
      validation(
        "Value '[]' at 'names' failed to satisfy constraint: Member must have length greater than or equal to 1",
      ),
    )
  })

  it('when a number is too large', () => {
    expect(refusal(operation('ssm', 'GetParametersByPath'), { Path: '/', MaxResults: 11 })).toBe(
      validation(
        "Value '11' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10",
      ),
    )
  })

  it('when a value is outside an enum', () => {
    expect(refusal(put, { Name: 'a', Value: 'b', Type: 'Foo' })).toBe(
      validation(
        "Value 'Foo' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [String, StringList, SecureString]",
      ),
    )
  })

  it('when a text is against a pattern', () => {
    expect(refusal(send, { DocumentName: 'no spaces' })).toBe(
      validation(
        "Value 'no spaces' at 'documentName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-.:/]{3,128}$",
      ),
    )
  })

  it('when it lies inside a structure in a list', () => {
    const filters = [{ Key: 'Type', Values: ['String'] }, { Key: '' }]
    const refused = refusal(operation('ssm', 'DescribeParameters'), { ParameterFilters: filters })
    expect(refused).toContain(
      "Value '' at 'parameterFilters.2.member.key' failed to satisfy constraint: Member must have length",
    )
  })

  it('when elements of a list break any constraint: all constraints of the element, once, with the whole list', () => {
    expect(refusal(operation('ssm', 'GetParameters'), { Names: ['ok', '', ''] })).toBe(
      validation(
        "Value '[ok, , ]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal to 1]",
      ),
    )
  })

  it('when keys or values of a map break a constraint', () => {
    const put = operation('ssm', 'CreateOpsMetadata')
    const key = 'k'.repeat(257)
    const refused = refusal(put, { ResourceId: 'r', Metadata: { [key]: { Value: 'x' } } })
    expect(refused).toBe(
      validation(
        `Value '{${key}=MetadataValue(value=x)}' at 'metadata' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^(?!\\s*$).+]`,
      ),
    )
    expect(refusal(operation('ssm', 'GetInventory'), { Filters: [{ Key: 'k', Values: [] }] })).toContain(
      "Value '[]' at 'filters.1.member.values' failed",
    )
  })

  it('without the value, and without its quotes, where the model calls it sensitive', () => {
    const create = operation('ssm', 'CreateMaintenanceWindow')
    const window = { Name: 'abc', Schedule: 'rate(1 day)', Duration: 2, Cutoff: 1, AllowUnassociatedTargets: true }
    expect(refusal(create, { ...window, Description: 's'.repeat(129) })).toBe(
      validation(
        "Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 128",
      ),
    )
    const refused = refusal(send, { ...document, Parameters: { password: ['top-secret', null] } })
    expect(refused).toContain("Value at 'parameters.password.member' failed")
    expect(refused).not.toContain('top-secret')
  })

  it('and stops at 100 of them, so that a small request cannot ask for a huge answer', () => {
    const refused = refusal(operation('ssm', 'PutInventory'), {
      InstanceId: 'mi-0123456789abcdef0',
      Items: Array.from({ length: 1000 }, () => ({})),
    })
    expect(refused).toContain('100 validation errors detected: ')
    expect(refused.split('; ')).toHaveLength(100)
  })
})

describe('a length', () => {
  it('counts characters, not UTF-16 units', () => {
    expect(refusal(put, { Name: 'a', Value: 'b', Description: '😀'.repeat(1024) })).toBe('accepted')
    expect(refusal(put, { Name: 'a', Value: 'b', Description: '😀'.repeat(1025) })).toContain(
      'less than or equal to 1024',
    )
  })
})

describe('a wrong JSON type ends in SerializationException, without the value', () => {
  it.each([
    [put, { Name: 1, Value: 'v' }, 'NUMBER_VALUE can not be converted to a String'],
    [put, { Name: true, Value: 'v' }, 'TRUE_VALUE can not be converted to a String'],
    [put, { Name: ['a'], Value: 'v' }, 'Start of list found where not expected'],
    [put, { Name: {}, Value: 'v' }, 'Start of structure or map found where not expected.'],
    [put, { Name: 'a', Value: 'v', Overwrite: 'true' }, 'STRING_VALUE can not be converted to a Boolean'],
    [put, { Name: 'a', Value: 'v', Tags: {} }, 'Expected list or null'],
    [send, { ...document, Parameters: [] }, 'Expected map or null'],
    [send, { ...document, TimeoutSeconds: '60' }, 'STRING_VALUE can not be converted to an Integer'],
    [send, { ...document, TimeoutSeconds: 60.5 }, 'NUMBER_VALUE can not be converted to an Integer'],
    [send, { ...document, TimeoutSeconds: 2 ** 31 }, 'NUMBER_VALUE can not be converted to an Integer'],
    [
      send,
      { ...document, TimeoutSeconds: Number.POSITIVE_INFINITY },
      'NUMBER_VALUE can not be converted to an Integer',
    ],
    [put, [], 'Start of list found where not expected'],
    [put, 'text', 'STRING_VALUE can not be converted to PutParameterRequest'],
  ] as [OperationModel, unknown, string][])('%#', (of, json, text) => {
    expect(refusal(of, json)).toBe(`SerializationException: ${text}`)
  })

  it('is an AwsError, which dispatch answers like any other', () => {
    expect(new ContractError('ValidationException', 'x')).toBeInstanceOf(AwsError)
  })
})

describe('decoding', () => {
  it('takes an absent body as an empty input', () => {
    expect(decode(operation('ssm', 'DescribeParameters'), undefined)).toEqual({})
    expect(decode(operation('ssm', 'DescribeParameters'), null)).toEqual({})
  })

  it('reads timestamps as epoch seconds and as ISO 8601, and refuses other texts', () => {
    const create = operation('ssm', 'CreateActivation')
    const at = (ExpirationDate: unknown) => ({ IamRole: 'r', ExpirationDate })
    const expected = new Date('2026-11-23T18:47:07.128Z')
    expect(decode(create, at(expected.getTime() / 1000)).ExpirationDate).toEqual(expected)
    expect(decode(create, at('2026-11-23T18:47:07.128Z')).ExpirationDate).toEqual(expected)
    expect(decode(create, at('2026-11-23T19:47:07.128+01:00')).ExpirationDate).toEqual(expected)
    for (const wrong of ['tomorrow', '2026', '', 1e300, true]) {
      expect(refusal(create, at(wrong))).toContain('SerializationException')
    }
  })

  it('keeps __proto__ and constructor as plain keys of a map', () => {
    const json = JSON.parse(
      `{"DocumentName":"AWS-RunShellScript","Parameters":{"__proto__":["x"],"constructor":["y"]}}`,
    )
    const { Parameters } = decode(send, json)
    expect(Object.entries(Parameters ?? {})).toEqual([
      ['__proto__', ['x']],
      ['constructor', ['y']],
    ])
    expect(Object.getPrototypeOf(Parameters)).toBeNull()
    expect(({} as Record<string, unknown>).x).toBeUndefined()
  })

  it('drops a __proto__ member of a structure', () => {
    const decoded = decode(put, JSON.parse(`{"Name":"a","Value":"b","__proto__":{"Type":"String"}}`))
    expect(decoded.Type).toBeUndefined()
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
  })

  it('refuses what is nested too deeply instead of running out of stack', () => {
    const nested = (open: string, close: string, times: number) => JSON.parse(open.repeat(times) + close.repeat(times))
    const inventory = operation('ssm', 'GetInventory')
    expect(refusal(inventory, nested('{"Aggregators":[', ']}', 50_000))).toBe(
      'SerializationException: Nesting is too deep',
    )
    expect(refusal(put, { Name: nested('[', ']', 1_000_000), Value: 'v' })).toContain('SerializationException')
    expect(refusal(put, { Name: 'a', Value: 'v', Unknown: nested('[', ']', 1_000_000) })).toBe('accepted')
  })

  it('reads blobs from base64', () => {
    const register = operation('ssm', 'UpdateMaintenanceWindowTask')
    const task = (Payload: string) => ({
      WindowId: 'mw-0123456789abcdef0',
      WindowTaskId: '00000000-0000-0000-0000-000000000000',
      TaskInvocationParameters: { Lambda: { Payload } },
    })
    expect(decode(register, task('aGk=')).TaskInvocationParameters?.Lambda?.Payload).toEqual(new Uint8Array([104, 105]))
    expect(refusal(register, task('a'))).toBe('SerializationException: STRING_VALUE can not be converted to a Blob')
  })
})

describe('encoding', () => {
  const get = operation('ssm', 'GetParameter')

  it('writes dates as epoch seconds and leaves out what the model does not know', () => {
    const output = {
      Parameter: { Name: '/a', Version: 2, LastModifiedDate: new Date('2026-11-23T18:47:07.128Z'), secretRow: 7 },
    }
    expect(encode(get, output)).toBe('{"Parameter":{"Name":"/a","Version":2,"LastModifiedDate":1795459627.128}}')
  })

  it('writes an empty answer as {}', () => {
    expect(encode(operation('ssm', 'DeleteParameter'), {})).toBe('{}')
  })

  it('takes row ids that come as bigint', () => {
    const output = { Version: 3n } as unknown as { Version: number }
    expect(encode(put, output, { strict: true })).toBe('{"Version":3}')
  })

  it.each([
    [get, { Parameter: { Version: '2' } }, 'Parameter.Version is a string, not a number'],
    [get, { Parameter: { LastModifiedDate: 1795459627 } }, 'Parameter.LastModifiedDate is a number, not a date'],
    [operation('ssm', 'GetParameters'), { Parameters: {} }, 'Parameters is a object, not a list'],
    [operation('ssm', 'ListTagsForResource'), { TagList: [{ Key: 'a' }] }, 'TagList[0].Value is required and absent'],
  ] as [OperationModel, unknown, string][])('in tests refuses an answer that does not fit: %#', (of, output, text) => {
    expect(() => encode(of, output, { strict: true })).toThrow(text)
  })
})

describe('the audit', () => {
  it('keeps an input without its secrets', () => {
    expect(redact(put, { Name: '/a', Value: 'secret', Type: 'SecureString' })).toEqual({
      Name: '/a',
      Value: REDACTED,
      Type: 'SecureString',
    })
    expect(redact(send, { ...document, Parameters: { commands: ['x'] } })).toEqual({
      ...document,
      Parameters: REDACTED,
    })
  })

  it('keeps an output without its secrets', () => {
    const output = redactOutput(operation('ssm', 'GetParameter'), { Parameter: { Name: '/a', Value: 'secret' } })
    expect(output).toEqual({ Parameter: { Name: '/a', Value: REDACTED } })
  })
})

describe('the errors of an operation', () => {
  it('are those of its model and those common to all services', () => {
    expect(() => assertModelled(put, 'ParameterAlreadyExists')).not.toThrow()
    expect(() => assertModelled(put, 'ValidationException')).not.toThrow()
    expect(() => assertModelled(put, 'ParameterNotFound')).toThrow('which its model does not give it')
    expect(() => assertModelled(put, 'constructor')).toThrow()
  })
})

describe('the model', () => {
  it('knows only operations by their exact names', () => {
    expect(isModelled('ssm', 'PutParameter')).toBe(true)
    expect(isModelled('ec2messages', 'GetMessages')).toBe(true)
    for (const name of ['putParameter', 'PutParameterRequest', 'constructor', '__proto__', '', 'SSMClient']) {
      expect(findOperation('ssm', name)).toBeUndefined()
    }
    expect(findOperation('constructor', 'PutParameter')).toBeUndefined()
  })
})
