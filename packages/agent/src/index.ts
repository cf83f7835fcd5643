// The agent of a managed node: what the command line and the tests may call.

export { EXECUTOR_ARGUMENT } from './executor-process.ts'
export { RegistrationError, readIdentity } from './identity.ts'
export { registerAgent, runAgent } from './main.ts'
export { type AgentSettings, SettingsError } from './settings.ts'
export {
  type PreparedNode,
  type SimulatedNodes,
  type SimulateOptions,
  type SimulationCounts,
  simulateNodes,
} from './simulate.ts'

/** Runs one document; for the program that was started with EXECUTOR_ARGUMENT, with the arguments after it. */
export async function runExecutorProcess(args: string[]): Promise<void> {
  const executor = await import('./executor.ts')
  await executor.runExecutorProcess(args)
}
