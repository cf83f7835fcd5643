/**
 * Amazon-owned Session documents, and SSM-SessionManagerRunShell as an account has it before anyone has set preferences.
 * That one carries no reserved prefix: a document of the same name in the account comes first.
 */
import type { JsonObject } from '../json.ts'
import type { BuiltinDocument } from './index.ts'

const sessionDefaults = {
  documentType: 'Session',
  documentFormat: 'JSON',
  version: '1',
  createdDate: '2026-11-23',
  owner: 'Amazon',
  targetType: undefined,
  platformTypes: ['Windows', 'Linux', 'MacOS'],
} as const

/** 1 to 65535; with `0` first, a free port is picked. */
const PORT_TAIL = '[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]'
const port = (first: string, value: string, description: string): JsonObject => ({
  type: 'String',
  description: `(Optional) ${description}`,
  allowedPattern: `^(${first}|${PORT_TAIL})$`,
  default: value,
})
const portNumber = port('[1-9]', '80', 'Port that the server listens on.')
const localPortNumber = port('[0-9]', '0', "Port on the client's machine; 0 picks a free one.")

/** A String: the agent reads `commands` as text, and a list there would fail the session. */
const command: JsonObject = { type: 'String', description: '(Required) The command to run.', minChars: 1 }
const perPlatform = (shell: JsonObject): JsonObject => ({ linux: shell, macos: shell, windows: shell })

export const SESSION_DOCUMENTS: readonly BuiltinDocument[] = [
  {
    ...sessionDefaults,
    name: 'SSM-SessionManagerRunShell',
    description: 'Preferences of this account for shell sessions.',
    content: {
      schemaVersion: '1.0',
      description: 'Preferences of this account for shell sessions.',
      sessionType: 'Standard_Stream',
      inputs: {
        s3BucketName: '',
        s3KeyPrefix: '',
        s3EncryptionEnabled: true,
        cloudWatchLogGroupName: '',
        cloudWatchEncryptionEnabled: true,
        cloudWatchStreamingEnabled: false,
        kmsKeyId: '',
        runAsEnabled: false,
        runAsDefaultUser: '',
        idleSessionTimeout: '20',
        maxSessionDuration: '',
        shellProfile: { windows: '', linux: '' },
      },
    },
  },
  {
    ...sessionDefaults,
    name: 'AWS-StartInteractiveCommand',
    description: 'Run one command with a terminal attached.',
    content: {
      schemaVersion: '1.0',
      description: 'Run one command with a terminal attached.',
      sessionType: 'InteractiveCommands',
      parameters: { command },
      properties: perPlatform({ commands: '{{ command }}', runAsElevated: false }),
    },
  },
  {
    ...sessionDefaults,
    name: 'AWS-StartNonInteractiveCommand',
    description: 'Run one command without a terminal.',
    content: {
      schemaVersion: '1.0',
      description: 'Run one command without a terminal.',
      sessionType: 'NonInteractiveCommands',
      parameters: { command },
      properties: perPlatform({ commands: '{{ command }}', runAsElevated: false }),
    },
  },
  {
    ...sessionDefaults,
    name: 'AWS-StartSSHSession',
    description: 'Carry an SSH connection over a session.',
    content: {
      schemaVersion: '1.0',
      description: 'Carry an SSH connection over a session.',
      sessionType: 'Port',
      parameters: { portNumber: port('[1-9]', '22', 'Port of the SSH server on the node.') },
      properties: { portNumber: '{{ portNumber }}' },
    },
  },
  {
    ...sessionDefaults,
    name: 'AWS-StartPortForwardingSession',
    description: 'Forward a local port to a port of the node.',
    content: {
      schemaVersion: '1.0',
      description: 'Forward a local port to a port of the node.',
      sessionType: 'Port',
      parameters: { portNumber, localPortNumber },
      properties: {
        portNumber: '{{ portNumber }}',
        type: 'LocalPortForwarding',
        localPortNumber: '{{ localPortNumber }}',
      },
    },
  },
  {
    ...sessionDefaults,
    name: 'AWS-StartPortForwardingSessionToRemoteHost',
    description: 'Forward a local port to a host that the node can reach.',
    content: {
      schemaVersion: '1.0',
      description: 'Forward a local port to a host that the node can reach.',
      sessionType: 'Port',
      parameters: {
        host: {
          type: 'String',
          default: 'localhost',
          description: '(Optional) Name or address of the host, as the node sees it.',
          allowedPattern: '^[^,$^&\\(\\)!;\'"<>`{}\\[\\]|#=]{3,}$',
        },
        portNumber,
        localPortNumber,
      },
      properties: {
        host: '{{ host }}',
        portNumber: '{{ portNumber }}',
        type: 'LocalPortForwarding',
        localPortNumber: '{{ localPortNumber }}',
      },
    },
  },
]
