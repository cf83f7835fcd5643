/** Topic that drops cached credentials and policies on every process; every change of principals wakes it. */
export const IDENTITY_WAKE = 'identity'
