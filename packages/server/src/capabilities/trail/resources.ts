/** What a call was about: the ARNs that its permission was asked for, by the types that AWS gives resources. */
import type { Output } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'

export interface NamedResource {
  /** `AWS::SSM::Parameter` */
  type: string
  arn: string
}

/** A command to a thousand nodes names this many of them. */
const MAX_RESOURCES = 50

export function resourcesOf(access: Access | Access[] | undefined): NamedResource[] {
  if (access === undefined) return NONE
  const named: NamedResource[] = []
  for (const { resources, concerns = [] } of Array.isArray(access) ? access : [access])
    for (const arn of [...resources, ...concerns]) {
      if (named.length === MAX_RESOURCES) return named
      if (arn.includes('*') || !arn.startsWith('arn:') || named.some((each) => each.arn === arn)) continue
      named.push({ type: typeOf(arn), arn })
    }
  return named
}

const NONE: NamedResource[] = []

/** What a call has made and could not name before. */
export function madeBy(service: string, operation: string, output: unknown): NamedResource[] {
  if (service !== 'kms' || operation !== 'CreateKey') return NONE
  const { KeyMetadata } = (output ?? {}) as Output<'CreateKey', 'kms'>
  return resourcesOf({ resources: KeyMetadata?.Arn === undefined ? [] : [KeyMetadata.Arn] })
}

/** Services whose calls are filed with the owner of what they use, too, as AWS does it. */
const TOLD_TO_OWNERS = new Set(['kms', 'sts'])

/** The other accounts whose keys or roles a call was about. */
export function ownersOf(service: string, access: Access | Access[] | undefined, own: string): string[] {
  if (!TOLD_TO_OWNERS.has(service)) return []
  const accounts = resourcesOf(access).map(({ arn }) => arn.split(':')[4] ?? '')
  return [...new Set(accounts)].filter((account) => account !== '' && account !== own)
}

const SERVICES: Record<string, string> = {
  ssm: 'SSM',
  ec2: 'EC2',
  iam: 'IAM',
  kms: 'KMS',
  sts: 'STS',
  cloudtrail: 'CloudTrail',
}

const types = new Map<string, string>()

/** From the ARN's service and the first word of its resource. */
function typeOf(arn: string): string {
  const [, , service = '', , , resource = ''] = arn.split(':', 6)
  const slash = resource.indexOf('/')
  const kind = `${service}:${slash < 0 ? resource : resource.slice(0, slash)}`
  let type = types.get(kind)
  if (type === undefined) {
    const word = kind
      .slice(kind.indexOf(':') + 1)
      .replace(/(?:^|[-_])([a-z])/g, (_, letter: string) => letter.toUpperCase())
    type = `AWS::${SERVICES[service] ?? service.toUpperCase()}::${word}`
    if (types.size < 1_000) types.set(kind, type)
  }
  return type
}

/** What people call a resource: `/app/db` for a parameter, `i-0123` for a node, the name of a role. */
export function nameOf(arn: string): string {
  const resource = arn.split(':').slice(5).join(':')
  const slash = resource.indexOf('/')
  const name = slash < 0 ? resource : resource.slice(slash + 1)
  return resource.startsWith('parameter/') && name.includes('/') ? `/${name}` : name
}
