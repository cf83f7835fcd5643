import { describe, expect, it } from 'vitest'
import { resolveParameters } from '../parameters.ts'
import { actsNow, BUILTIN_DOCUMENTS, builtinDocument, parseBuiltin } from './index.ts'

const PUBLISHED = [
  'AWS-RunShellScript',
  'AWS-RunPowerShellScript',
  'AWS-RunDocument',
  'AWS-RunRemoteScript',
  'AWS-UpdateSSMAgent',
  'AWS-ConfigureAWSPackage',
  'AWS-GatherSoftwareInventory',
  'AWS-RefreshAssociation',
  'AWS-RunPatchBaseline',
  'SSM-SessionManagerRunShell',
  'AWS-StartInteractiveCommand',
  'AWS-StartNonInteractiveCommand',
  'AWS-StartSSHSession',
  'AWS-StartPortForwardingSession',
  'AWS-StartPortForwardingSessionToRemoteHost',
]
const typed = (name: string) => {
  const document = builtinDocument(name)
  if (!document) throw new Error(`no ${name}`)
  return parseBuiltin(document)
}

describe('the documents everyone has', () => {
  it('are the published ones', () => {
    expect([...BUILTIN_DOCUMENTS.keys()].sort()).toEqual([...PUBLISHED].sort())
  })

  it.each(PUBLISHED)('%s obeys the rules that users’ documents obey', (name) => {
    const document = typed(name)
    expect(document.description).toBe(builtinDocument(name)?.description)
  })

  it.each([
    [
      'AWS-RunShellScript',
      { commands: ['date'] },
      { commands: ['date'], workingDirectory: '', executionTimeout: '3600' },
    ],
    ['AWS-RefreshAssociation', {}, { associationIds: [''] }],
    ['AWS-UpdateSSMAgent', {}, { version: '', allowDowngrade: 'false' }],
    ['AWS-StartSSHSession', {}, { portNumber: '22' }],
    ['AWS-StartPortForwardingSessionToRemoteHost', {}, { host: 'localhost', portNumber: '80', localPortNumber: '0' }],
    [
      'AWS-RunRemoteScript',
      { sourceType: ['S3'], sourceInfo: ['{"path":"https://s3/x"}'], commandLine: ['x.sh'] },
      {
        sourceType: 'S3',
        sourceInfo: { path: 'https://s3/x' },
        commandLine: 'x.sh',
        workingDirectory: '',
        executionTimeout: '3600',
      },
    ],
  ] as [string, Record<string, string[]>, object][])('%s has the published defaults', (name, given, expected) => {
    expect(resolveParameters(typed(name), given)).toEqual(expected)
  })

  it.each([
    [
      'AWS-RunShellScript',
      'executionTimeout',
      ['1', '9', '99999', '172800'],
      ['0', '172801', '-1', '', '1.5', '999999'],
    ],
    ['AWS-StartSSHSession', 'portNumber', ['1', '22', '65535'], ['0', '65536', '022', '']],
    ['AWS-StartPortForwardingSession', 'localPortNumber', ['0', '65535'], ['65536', '00']],
    ['AWS-StartPortForwardingSessionToRemoteHost', 'host', ['db.internal', '10.0.0.1'], ['a;b', 'ab', '$(id)']],
    [
      'AWS-ConfigureAWSPackage',
      'name',
      ['AmazonCloudWatchAgent', 'arn:aws:ssm:us-east-1:123456789012:document/x'],
      ['1x', 'a b'],
    ],
    ['AWS-RunPatchBaseline', 'Operation', ['Scan', 'Install'], ['scan', '']],
    ['AWS-RunDocument', 'sourceType', ['S3', 'GitHub'], ['s3']],
  ] as [string, string, string[], string[]][])(
    '%s holds %s to its published limits',
    (name, parameter, accepted, refused) => {
      const required = { commands: ['x'], sourceType: ['S3'], action: ['Install'], name: ['x'], Operation: ['Scan'] }
      const document = typed(name)
      const given = Object.fromEntries(Object.entries(required).filter(([key]) => document.parameters.has(key)))
      for (const value of accepted)
        expect(resolveParameters(document, { ...given, [parameter]: [value] })).toHaveProperty(parameter, value)
      for (const value of refused) {
        expect(() => resolveParameters(document, { ...given, [parameter]: [value] }), value).toThrow(parameter)
      }
    },
  )

  it('say why when they cannot be carried out yet', () => {
    for (const name of [
      'AWS-RunPatchBaseline',
      'AWS-RefreshAssociation',
      'AWS-UpdateSSMAgent',
      'AWS-ConfigureAWSPackage',
      'AWS-GatherSoftwareInventory',
    ]) {
      expect(actsNow(name)).toContain(name)
    }
    for (const name of [
      'AWS-RunShellScript',
      'AWS-RunPowerShellScript',
      'AWS-RunDocument',
      'AWS-RunRemoteScript',
      'AWS-StartSSHSession',
      'My-Own',
    ]) {
      expect(actsNow(name)).toBe(true)
    }
  })
})
