/** Topic: a command was written, cancelled or reported on. */
export const COMMANDS_WAKE = 'commands'
/** Topic: a notification is to be posted. */
export const NOTIFICATIONS_WAKE = 'command-notifications'
