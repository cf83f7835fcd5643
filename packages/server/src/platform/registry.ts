/**
 * Gathers what the capabilities declare into what the engines are handed, and refuses to start on a contradiction:
 * an operation declared twice, one that the model does not know, one that declares no permissions.
 */
import { isModelled } from '../contract/model.ts'
import type { ServiceName } from '../contract/types.ts'
import type { Capability, Operation, Reconciler, Running } from './capability.ts'

export type AnyOperation = Operation<unknown, unknown>

export interface Registry {
  operation(service: ServiceName, name: string): AnyOperation | undefined
  operations: { service: ServiceName; name: string; capability: string }[]
  reconcilers: Reconciler[]
}

/** `running`: what capabilities have started, by name; its operations join those that were declared. */
export function gather(capabilities: Capability[], running: ReadonlyMap<string, Running> = new Map()): Registry {
  /** By service, then by name: a key made of both would be made anew for each request. */
  const byService = new Map<string, Map<string, AnyOperation>>()
  const operations: Registry['operations'] = []
  for (const capability of capabilities) {
    const tables = [capability.operations ?? {}, running.get(capability.name)?.operations ?? {}]
    for (const [service, table] of tables.flatMap((each) => Object.entries(each)) as [ServiceName, object][]) {
      const byName = byService.get(service) ?? new Map<string, AnyOperation>()
      byService.set(service, byName)
      for (const [name, operation] of Object.entries(table) as [string, AnyOperation][]) {
        const id = `${service}:${name}`
        if (byName.has(name)) throw new Error(`${id} is declared twice, the second time by ${capability.name}`)
        if (!isModelled(service, name))
          throw new Error(`${capability.name} declares ${id}, which the model does not know`)
        if (typeof operation.authorize !== 'function') throw new Error(`${id} declares no permissions`)
        byName.set(name, operation)
        operations.push({ service, name, capability: capability.name })
      }
    }
  }
  return {
    operation: (service, name) => byService.get(service)?.get(name),
    operations,
    reconcilers: capabilities.flatMap((capability) => capability.reconcilers ?? []),
  }
}
