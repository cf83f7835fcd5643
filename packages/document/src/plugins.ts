/**
 * The plugins a Command document may name and the platforms each exists on (documents.md, agent plugins).
 * CreateDocument refuses other names; PlatformTypes and preconditions are computed from this table.
 */

export const PLATFORMS = ['Windows', 'Linux', 'MacOS'] as const
export type Platform = (typeof PLATFORMS)[number]

const ALL = PLATFORMS
const NOT_MACOS = ['Windows', 'Linux'] as const
const WINDOWS = ['Windows'] as const

/** Plugin name to the platforms where an agent has it. */
export const PLUGINS: ReadonlyMap<string, readonly Platform[]> = new Map<string, readonly Platform[]>([
  ['aws:runShellScript', ['Linux', 'MacOS']],
  ['aws:runPowerShellScript', ALL],
  ['aws:runDocument', NOT_MACOS],
  ['aws:downloadContent', NOT_MACOS],
  ['aws:configurePackage', ALL],
  ['aws:softwareInventory', ALL],
  ['aws:updateSsmAgent', ALL],
  ['aws:refreshAssociation', ALL],
  ['aws:configureDocker', NOT_MACOS],
  ['aws:runDockerAction', NOT_MACOS],
  ['aws:domainJoin', NOT_MACOS],
  ['aws:configureDaemon', ALL],
  ['aws:applications', WINDOWS],
  ['aws:psModule', WINDOWS],
  ['aws:cloudWatch', WINDOWS],
  ['aws:updateAgent', WINDOWS],
])

/** True for the two plugins that run a script and so have timeoutSeconds, workingDirectory and environment. */
export function isScriptPlugin(action: string): boolean {
  return action === 'aws:runShellScript' || action === 'aws:runPowerShellScript'
}

/** The platform of that name in any spelling of case, or undefined. */
export function platformNamed(name: string): Platform | undefined {
  return PLATFORMS.find((platform) => platform.toLowerCase() === name.toLowerCase())
}
