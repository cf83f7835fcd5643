/**
 * `musterbook policy lint`: the grants by which a node could do more than act as itself, of the roles that nodes carry or
 * of policy files before anybody attaches them.
 */
import { readFile } from 'node:fs/promises'
import { lintNodePolicy, type NodePolicyLint } from '@musterbook/server'
import { type AccessWords, readAccess, readWords, WHERE_USAGE } from './access.ts'
import { route } from './client.ts'
import { ConfigError } from './config-error.ts'

export const POLICY_USAGE = `musterbook policy lint
    every role of the account that nodes can carry, with each grant that reaches beyond the node itself
musterbook policy lint <file>...
    the same of policy documents in files, without a control plane
Exits with 2 where there is such a grant.
${WHERE_USAGE}`

interface NodeRoleLint {
  role: string
  /** Nodes that carry it now. */
  nodes: number
  policies: { policy: string; lint: NodePolicyLint }[]
}

export async function runPolicy(args: string[]): Promise<void> {
  const { values, positionals } = readWords(args.slice(1), { json: { type: 'boolean' } })
  const [verb, ...files] = positionals
  if (values.help || verb === undefined) {
    process.stdout.write(POLICY_USAGE)
    if (!values.help) process.exitCode = 1
    return
  }
  if (verb !== 'lint') throw new ConfigError(`musterbook policy ${verb}: there is no such thing; it takes lint`)
  const roles = files.length > 0 ? [] : await rolesOf(values)
  const policies = await Promise.all(files.map(lintFile))
  if (values.json) process.stdout.write(`${JSON.stringify(files.length > 0 ? policies : roles, null, 2)}\n`)
  else process.stdout.write(files.length > 0 ? policies.map(policyText).join('') : rolesText(roles))
  const all = [...policies, ...roles.flatMap((role) => role.policies)]
  if (all.some(({ lint }) => lint.fault !== undefined || lint.grants.length > 0)) process.exitCode = 2
}

async function rolesOf(values: AccessWords): Promise<NodeRoleLint[]> {
  const plane = await readAccess(values)
  const { roles } = await route<{ roles: NodeRoleLint[] }>(plane, 'iam', 'GET', '/musterbook/node-roles')
  return roles
}

async function lintFile(path: string): Promise<{ policy: string; lint: NodePolicyLint }> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`${path} cannot be read (${error.code})`)
  })
  return { policy: path, lint: lintNodePolicy(text) }
}

function rolesText(roles: NodeRoleLint[]): string {
  if (roles.length === 0) return 'No role trusts ssm.amazonaws.com: nodes act as themselves and nothing else.\n'
  return roles
    .map(({ role, nodes, policies }) => {
      const head = `${role}  (carried by ${nodes === 1 ? 'one node' : `${nodes} nodes`})\n`
      return (
        head +
        (policies.length === 0 ? '  no policies: the node and nothing else\n' : policies.map(policyText).join(''))
      )
    })
    .join('')
}

function policyText({ policy, lint }: { policy: string; lint: NodePolicyLint }): string {
  if (lint.fault !== undefined) return `  ${policy}: ${lint.fault}\n`
  if (lint.grants.length === 0) return `  ${policy}: no grant is broader than the node\n`
  const lines = lint.grants.map(
    ({ sid, statement, reason }) => `    ${sid === undefined ? `statement ${statement + 1}` : `'${sid}'`}: ${reason}\n`,
  )
  return `  ${policy}\n${lines.join('')}`
}
