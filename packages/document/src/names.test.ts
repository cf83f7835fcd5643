import { describe, expect, it } from 'vitest'
import { DocumentError } from './error.ts'
import {
  checkNewName,
  checkSchemaVersion,
  chooseVersion,
  DOCUMENT_TYPES,
  isVersionName,
  parseReference,
  parseVersion,
  schemaVersionsOf,
} from './names.ts'

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof DocumentError) return error.code
    throw error
  }
  return 'accepted'
}

describe('a new name', () => {
  it.each(['abc', 'a'.repeat(128), 'My_Doc-1.2', 'SSM-SessionManagerRunShell', 'my-aws'])('may be %s', (name) => {
    expect(codeOf(() => checkNewName(name))).toBe('accepted')
  })

  it.each([
    'ab',
    'a'.repeat(129),
    'a b c',
    'a:b',
    'a/b',
    'AWS-Mine',
    'aws-mine',
    'Amazon-x',
    'amzn-x',
    'AWSEC2-x',
    'AWSSupport-x',
    'AWSConfigRemediation-x',
  ])('may not be %s', (name) => {
    expect(codeOf(() => checkNewName(name))).toBe('ValidationException')
  })
})

describe('a reference', () => {
  it('is a name, a name and version, or an ARN of either kind', () => {
    expect(parseReference('My-Doc')).toEqual({ name: 'My-Doc' })
    expect(parseReference('My-Doc:3')).toEqual({ name: 'My-Doc', version: '3' })
    expect(parseReference('My-Doc:$LATEST')).toEqual({ name: 'My-Doc', version: '$LATEST' })
    expect(parseReference('arn:aws:ssm:eu-central-1:123456789012:document/My-Doc')).toEqual({
      name: 'My-Doc',
      partition: 'aws',
      region: 'eu-central-1',
      account: '123456789012',
    })
    expect(parseReference('arn:aws-cn:ssm:cn-north-1::automation-definition/AWS-Stop:7')).toEqual({
      name: 'AWS-Stop',
      partition: 'aws-cn',
      region: 'cn-north-1',
      account: '',
      version: '7',
    })
  })

  it.each([
    '',
    'ab',
    'a b c',
    '../x',
    'arn:aws:s3:::bucket',
    'arn:aws:ssm:r:12:document/abc',
    'abc/def',
    'a'.repeat(200),
  ])('is never %s', (text) => {
    expect(codeOf(() => parseReference(text))).toBe('InvalidDocument')
  })

  it('with a version that is none is InvalidDocumentVersion', () => {
    expect(codeOf(() => parseReference('My-Doc:0'))).toBe('InvalidDocumentVersion')
  })
})

describe('a version', () => {
  it('is the default when omitted, $LATEST, $DEFAULT or a number from 1', () => {
    expect([undefined, '', '$DEFAULT', '$LATEST', '1', '1000'].map(parseVersion)).toEqual([
      '$DEFAULT',
      '$DEFAULT',
      '$DEFAULT',
      '$LATEST',
      1,
      1000,
    ])
    for (const text of ['0', '01', '-1', '1.0', 'LATEST', '$latest', '9'.repeat(30)])
      expect(codeOf(() => parseVersion(text))).toBe('InvalidDocumentVersion')
  })

  it('is chosen from those that exist', () => {
    const document = { latest: 5, default: 2, versions: [1, 2, 5] }
    expect(chooseVersion('$LATEST', document)).toBe(5)
    expect(chooseVersion('$DEFAULT', document)).toBe(2)
    expect(chooseVersion(1, document)).toBe(1)
    expect(codeOf(() => chooseVersion(3, document))).toBe('InvalidDocumentVersion')
  })

  it('may have a name of 1 to 128 characters', () => {
    expect(['a', 'v1.0_x-y', 'a'.repeat(128)].every(isVersionName)).toBe(true)
    expect(['', 'a b', 'a'.repeat(129)].some(isVersionName)).toBe(false)
  })
})

it('every document type accepts its own schema versions only', () => {
  for (const type of DOCUMENT_TYPES) {
    const own = schemaVersionsOf(type)
    for (const version of ['0.3', '1.0', '1.2', '2.0', '2.2']) {
      const expected = own === undefined || own.includes(version) ? 'accepted' : 'InvalidDocumentSchemaVersion'
      expect([type, version, codeOf(() => checkSchemaVersion(type, version))]).toEqual([type, version, expected])
    }
  }
  expect(schemaVersionsOf('Command')).toEqual(['1.2', '2.0', '2.2'])
  expect(schemaVersionsOf('Session')).toEqual(['1.0'])
})
