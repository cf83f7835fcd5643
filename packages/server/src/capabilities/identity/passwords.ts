/** Passwords of users: what they must be like, and how they are kept. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

/** As UpdateAccountPasswordPolicy takes it and GetAccountPasswordPolicy tells it. */
export interface PasswordPolicy {
  MinimumPasswordLength: number
  RequireSymbols: boolean
  RequireNumbers: boolean
  RequireUppercaseCharacters: boolean
  RequireLowercaseCharacters: boolean
  AllowUsersToChangePassword: boolean
  /** In days. */
  MaxPasswordAge?: number | undefined
  /** How many of the last passwords are not to be used again. */
  PasswordReusePrevention?: number | undefined
  HardExpiry?: boolean | undefined
}

const LOWERCASE = /[a-z]/
const UPPERCASE = /[A-Z]/
const NUMBER = /\d/
/** The characters that IAM means by symbols. */
const SYMBOL = /[!@#$%^&*()_+\-=[\]{}|']/

/** IAM's default: eight characters of three kinds at least. */
const LEAST_CHARACTERS = 8
const LEAST_KINDS = 3

/** What is wrong with a password under the account's policy, or under IAM's default where it has none; undefined: nothing. */
export function passwordFault(password: string, policy: PasswordPolicy | undefined): string | undefined {
  if (!policy) {
    const kinds = [LOWERCASE, UPPERCASE, NUMBER, /[^A-Za-z\d]/].filter((kind) => kind.test(password)).length
    const isGood = password.length >= LEAST_CHARACTERS && kinds >= LEAST_KINDS
    return isGood ? undefined : `${LEAST_CHARACTERS} characters of ${LEAST_KINDS} kinds at least`
  }
  const { MinimumPasswordLength: least } = policy
  if (password.length < least) return `${least} characters at least`
  if (policy.RequireUppercaseCharacters && !UPPERCASE.test(password)) return 'an uppercase letter at least'
  if (policy.RequireLowercaseCharacters && !LOWERCASE.test(password)) return 'a lowercase letter at least'
  if (policy.RequireNumbers && !NUMBER.test(password)) return 'a number at least'
  if (policy.RequireSymbols && !SYMBOL.test(password)) return 'a symbol at least'
  return undefined
}

const derive = promisify<string, Buffer, number, { N: number; r: number; p: number; maxmem: number }, Buffer>(scrypt)
/** OWASP's figures for scrypt: 2^15 rounds, blocks of 8, three lanes; 32 MiB and some 0.2 s each. */
const COST = { N: 32_768, r: 8, p: 3, maxmem: 64 * 1024 * 1024 }

/** `scrypt$N$r$p$salt$hash`. */
export async function hashed(password: string): Promise<string> {
  const salt = randomBytes(16)
  const derived = await derive(password, salt, 32, COST)
  return `scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString('base64')}$${derived.toString('base64')}`
}

export async function isHashOf(hash: string, password: string): Promise<boolean> {
  const [, N, r, p, salt = '', wanted = ''] = hash.split('$')
  const cost = { N: Number(N), r: Number(r), p: Number(p), maxmem: COST.maxmem }
  const derived = await derive(password, Buffer.from(salt, 'base64'), 32, cost)
  return timingSafeEqual(derived, Buffer.from(wanted, 'base64'))
}

/** One after the other: each takes 32 MiB. */
export async function isHashOfAny(hashes: readonly string[], password: string): Promise<boolean> {
  for (const hash of hashes) if (await isHashOf(hash, password)) return true
  return false
}
