// UpdateInstanceInformation: at start, when the control channel opens, and every five minutes. It alone makes a node
// Online; it goes on when the control channel is down. Called by main.ts.

import { type Answer, ApiError } from './api.ts'
import { type Log, reason } from './log.ts'
import { pause } from './pause.ts'
import { AGENT_NAME, AGENT_VERSION, readPlatform } from './platform.ts'

export interface Health {
  /** The control channel is open: the next report says so. */
  channelOpened(): void
  /** Reports until the signal; never throws. */
  run(signal: AbortSignal): Promise<void>
}

export type Call = (operation: string, input: object, signal?: AbortSignal) => Promise<Answer>

export interface HealthOptions {
  instanceId: string
  everySeconds: number
  call: Call
  /** The control plane refuses our credentials. */
  refused(): void
  log: Log
}

/** After a failed report the next one comes sooner, in milliseconds. */
const PAUSE_AFTER_FAILURE = 15_000

export function createHealth(options: HealthOptions): Health {
  const { instanceId, everySeconds, call, refused, log } = options
  let channel = ''
  let nudge = new AbortController()

  async function report(signal: AbortSignal): Promise<void> {
    await call('UpdateInstanceInformation', instanceInformation(instanceId, channel), signal)
  }

  return {
    channelOpened() {
      if (channel === 'ssmmessages') return
      channel = 'ssmmessages'
      nudge.abort()
    },
    async run(signal) {
      while (!signal.aborted) {
        nudge = new AbortController()
        // Up to a tenth shorter, so that nodes that started together drift apart.
        let millis = everySeconds * 1000 * (0.9 + Math.random() / 10)
        try {
          await report(signal)
        } catch (error) {
          if (signal.aborted) return
          log.warn('health not reported', { reason: reason(error) })
          if (error instanceof ApiError && error.status < 500) refused()
          millis = Math.min(millis, PAUSE_AFTER_FAILURE * (0.5 + Math.random() / 2))
        }
        await pause(millis, signal, nudge.signal)
      }
    },
  }
}

/** The full body of UpdateInstanceInformation; the channel is empty until the control channel was open once. */
export function instanceInformation(instanceId: string, channel: string): Record<string, string> {
  const platform = readPlatform()
  return {
    AgentName: AGENT_NAME,
    AgentStatus: 'Active',
    AgentVersion: AGENT_VERSION,
    AvailabilityZone: '',
    AvailabilityZoneId: '',
    ComputerName: platform.computerName,
    IPAddress: platform.ipAddress,
    InstanceId: instanceId,
    PlatformName: platform.name,
    PlatformType: platform.type,
    PlatformVersion: platform.version,
    SSMConnectionChannel: channel,
  }
}
