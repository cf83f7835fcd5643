/** What a call was about: the ARNs that its permission was asked for, by the types that AWS gives resources. */
import type { Output } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'

export interface NamedResource {
  /** `AWS::SSM::Parameter` */
  type: string
  arn: string
  /** The account that the ARN names; empty: it names none. */
  account: string
  /** Type and ARN as members of a JSON text: ARNs may be what a caller wrote, nothing of them goes there as it is. */
  members: string
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
      named.push(resourceOf(arn))
    }
  return named
}

const NONE: NamedResource[] = []

/** Resources are called about many times over, and taking an ARN apart costs more than looking it up. */
const MAX_KNOWN = 10_000
/** Names may be long, and whoever makes them up must not fill the memory. */
const MAX_KNOWN_CHARACTERS = 256
const known = new Map<string, NamedResource>()

function resourceOf(arn: string): NamedResource {
  const before = known.get(arn)
  if (before) return before
  const type = typeOf(arn)
  const members = `"type":${JSON.stringify(type)},"ARN":${JSON.stringify(arn)}`
  const resource = { type, arn, account: arn.split(':')[4] ?? '', members }
  if (arn.length > MAX_KNOWN_CHARACTERS) return resource
  if (known.size >= MAX_KNOWN) known.clear()
  known.set(arn, resource)
  return resource
}

/** As an event lists them; what names no account belongs to `account`. */
export const resourceText = (resources: readonly NamedResource[], account: string): string =>
  `[${resources.map((each) => `{"accountId":${JSON.stringify(each.account || account)},${each.members}}`).join()}]`

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
  const accounts = resourcesOf(access).map(({ account }) => account)
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

/** From the ARN's service and the first word of its resource. */
function typeOf(arn: string): string {
  const [, , service = '', , , resource = ''] = arn.split(':', 6)
  const [kind = ''] = resource.split('/', 1)
  const word = kind.replace(/(?:^|[-_])([a-z])/g, (_, letter: string) => letter.toUpperCase())
  return `AWS::${SERVICES[service] ?? service.toUpperCase()}::${word}`
}

/** What people call a resource: `/app/db` for a parameter, `i-0123` for a node, the name of a role. */
export function nameOf(arn: string): string {
  const resource = arn.slice(resourceAt(arn))
  const slash = resource.indexOf('/')
  const name = slash < 0 ? resource : resource.slice(slash + 1)
  return resource.startsWith('parameter/') && name.includes('/') ? `/${name}` : name
}

/** Where an ARN's sixth segment begins; at its end where it has none. */
function resourceAt(arn: string): number {
  let at = 0
  for (let colons = 0; colons < 5; colons++) {
    const colon = arn.indexOf(':', at)
    if (colon < 0) return arn.length
    at = colon + 1
  }
  return at
}
