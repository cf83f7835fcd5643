/** Topic that drops cached credentials and policies on every process; every change of principals wakes it. */
export const IDENTITY_WAKE = 'identity'
/** Topic: the account that is the key has been disabled; no key: perhaps one has. */
export const DISABLED_WAKE = 'disabled account'
