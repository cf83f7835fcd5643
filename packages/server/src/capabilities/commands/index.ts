/**
 * Commands: Run Command. SendCommand writes intentions, the reconciler releases them into mailboxes, nodes report, and
 * the status of a command follows from its invocations. Every target of every command ends in a provable state.
 */

import type { Access, Capability } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'
import { keepOutput } from './keep-output.ts'
import init from './migrations/0001-init.sql'
import cancelAndOutput from './migrations/0002-cancel-and-output.sql'
import outputAndNotifications from './migrations/0003-output-and-notifications.sql'
import { notify } from './notifications.ts'
import { outputRoute, takeOutput } from './output.ts'
import { sendAccess } from './permission.ts'
import { getCommandInvocation, listCommandInvocations, listCommands } from './reading.ts'
import { carryOut, forget, giveUp } from './reconcile.ts'
import { takeReplies } from './replies.ts'
import { sendCommand } from './send-command.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

const anywhere = (): Access => ({ resources: ['*'] })

export const commands: Capability = {
  name: 'commands',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-cancel-and-output', sql: cancelAndOutput },
    { name: '0003-output-and-notifications', sql: outputAndNotifications },
  ],
  operations: {
    ssm: {
      SendCommand: { authorize: sendAccess, handle: sendCommand },
      ListCommands: { authorize: anywhere, handle: listCommands },
      ListCommandInvocations: { authorize: anywhere, handle: listCommandInvocations },
      GetCommandInvocation: { authorize: anywhere, handle: getCommandInvocation },
      CancelCommand: {
        authorize: anywhere,
        async handle(context, input) {
          const nodeIds = input.InstanceIds?.length ? input.InstanceIds : undefined
          if (nodeIds && new Set(nodeIds).size !== nodeIds.length) throw new AwsError('DuplicateInstanceId')
          const command = await store.readCommand(context.sql, context, input.CommandId)
          if (!command) throw new AwsError('InvalidCommandId')
          if (nodeIds && (await store.listTargeted(context.sql, input.CommandId, nodeIds)).length < nodeIds.length)
            throw new AwsError('InvalidInstanceId', 'The command was not sent to all of these instances.')
          await context.transaction(({ sql }) => store.cancelInvocations(sql, input.CommandId, nodeIds, context.now()))
          context.wake(COMMANDS_WAKE)
          return {}
        },
      },
    },
  },
  reconcilers: [carryOut, giveUp, forget, keepOutput, notify],
  start: (host) => ({
    nodeMessages: { ...takeReplies(host), ...takeOutput(host) },
    routes: [outputRoute(host)],
  }),
}
