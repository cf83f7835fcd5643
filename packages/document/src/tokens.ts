/**
 * `{{ name }}` and `{{ ssm:name }}` in strings, with the agent's own rules (agent/framework/docparser/parameters):
 * a string that is nothing but one token becomes the raw value, of whatever type; a token inside other text becomes
 * text, JSON for what is not a string; one pass, so a value holding a token stays as it is; a name that has no value
 * is left alone. Keys are never touched.
 */
import { isObject, type Json, mapStrings } from './json.ts'

/** Parameter values by name, as the agent payload carries them. */
export type ParameterValues = ReadonlyMap<string, Json>

/** White space inside the braces: what Go's `\s` matches, which is less than JavaScript's. */
const TOKEN = /\{\{[\t\n\f\r ]*([a-zA-Z0-9]+)[\t\n\f\r ]*\}\}/g
const WHOLE_TOKEN = /^\{\{[\t\n\f\r ]*([a-zA-Z0-9]+)[\t\n\f\r ]*\}\}$/

/** The names between braces, in order of appearance, with repetitions. */
export function tokenNames(text: string): string[] {
  return [...text.matchAll(TOKEN)].map((match) => match[1] ?? '')
}

/** The data with parameters put in. */
export function substitute(value: Json, parameters: ParameterValues): Json {
  return mapStrings(value, (text) => {
    const name = WHOLE_TOKEN.exec(text)?.[1]
    const whole = name === undefined ? undefined : parameters.get(name)
    return whole === undefined ? substituteText(text, parameters) : whole
  })
}

/** The text with parameters put in as text; `$$` in a value becomes `$`, which scripts written for old agents rely on. */
export function substituteText(text: string, parameters: ParameterValues): string {
  return text.replace(TOKEN, (token, name: string) => {
    const value = parameters.get(name)
    return value === undefined ? token : asText(value).replaceAll('$$', () => '$')
  })
}

/** A value as it reads inside a text: strings as they are, the rest as JSON with sorted keys and `<>&` escaped, as Go writes it. */
export function asText(value: Json): string {
  if (typeof value === 'string') return value
  return JSON.stringify(sorted(value)).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isObject(value)) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]))
}

const SSM_TOKEN = /\{\{ *ssm:([/\w.:-]+) *\}\}/g
const ANY_SSM_TOKEN = /\{\{\s*ssm(?:-secure)?:[\w/.:-]+\s*\}\}/

/** The Parameter Store names in `{{ ssm:name }}`, `{{ ssm:name:version }}` and `{{ ssm:name:label }}`, as GetParameters takes them. */
export function ssmNames(text: string): string[] {
  return [...text.matchAll(SSM_TOKEN)].map((match) => match[1] ?? '')
}

/** True when the text refers to Parameter Store, so that its value is only known on the node. */
export function hasSsmToken(text: string): boolean {
  return ANY_SSM_TOKEN.test(text)
}

/** The text with the named parameters' values put in, in one pass: a value that looks like a token stays as it is. */
export function replaceSsmTokens(text: string, values: ReadonlyMap<string, string>): string {
  return text.replace(SSM_TOKEN, (token, name: string) => values.get(name) ?? token)
}
