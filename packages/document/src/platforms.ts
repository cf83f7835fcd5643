/**
 * Which platforms a document can act on: the PlatformTypes that DescribeDocument shows, and SendCommand's question
 * before a node gets a command it could only skip.
 */
import type { SsmDocument, Step } from './document.ts'
import { PLATFORMS, PLUGINS, type Platform, platformNamed } from './plugins.ts'

/** The platforms, in the service's order, where at least one step can act. */
export function platformTypes(document: SsmDocument): Platform[] {
  const reached = new Set(platformsOf(document))
  return PLATFORMS.filter((platform) => reached.has(platform))
}

/** True when the document has something to do on this platform. */
export function supportsPlatform(document: SsmDocument, platform: Platform): boolean {
  return platformTypes(document).includes(platform)
}

function platformsOf(document: SsmDocument): readonly Platform[] {
  switch (document.kind) {
    case 'runtimeConfig':
      return document.plugins.flatMap(({ name }) => PLUGINS.get(name) ?? [])
    case 'mainSteps':
      return document.steps.flatMap((step) => stepPlatforms(step))
    case 'session': {
      const named = Object.keys(document.properties ?? {}).flatMap((key) => platformNamed(key) ?? [])
      return named.length > 0 ? named : PLATFORMS
    }
    default:
      return PLATFORMS
  }
}

function stepPlatforms({ action, precondition }: Step): readonly Platform[] {
  const platforms = PLUGINS.get(action) ?? []
  const wanted = wantedPlatform(precondition)
  return wanted === undefined
    ? platforms
    : platforms.filter((platform) => platform.toLowerCase() === wanted.toLowerCase())
}

/** The platform a step asks for in its precondition, in either order of the two operands. */
function wantedPlatform(precondition: Step['precondition']): string | undefined {
  const [left, right] = precondition?.StringEquals ?? []
  if (left === 'platformType') return right
  return right === 'platformType' ? left : undefined
}
