// NonInteractiveCommands: a program without terminal, shell and input. Its outputs come live, apart from each other and
// followed by the exit code where the document asks for that (separateOutputStream).

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { buildExitCode, PAYLOAD_TYPE } from '@musterbook/wire'
import { splitCommandLine } from './command-line.ts'
import { type Kind, type KindContext, ownPart, text, truth } from './kind.ts'
import { environmentOf } from './run-as.ts'

const CTRL_C = 0x03
const CTRL_BACKSLASH = 0x1c
const KILL_AFTER_MS = 2_000
const OUTPUT_BYTES = 16 * 1024

const SIGNAL_NUMBERS: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 }

export function startCommand(context: KindContext): Kind {
  const { runAs } = context
  const part = ownPart(context.properties)
  const separate = truth(part.separateOutputStream)
  const [file = '', ...args] = [...runAs.prefix, ...splitCommandLine(text(part.commands))]
  const streams: Readable[] = []
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environmentOf(runAs),
    cwd: existsSync(runAs.home) ? runAs.home : '/',
    detached: true, // a group of its own, for signals
  })

  function carry(stream: Readable, payloadType: number, prefix: string): void {
    streams.push(stream)
    let atLineStart = true
    stream.on('data', (chunk: Buffer) => {
      const bytes = prefix !== '' && atLineStart ? Buffer.concat([Buffer.from(prefix), chunk]) : chunk
      atLineStart = chunk.at(-1) === 0x0a
      let room = true
      for (let at = 0; at < bytes.length; at += OUTPUT_BYTES)
        room = context.send(payloadType, bytes.subarray(at, at + OUTPUT_BYTES))
      if (!room) for (const each of streams) each.pause()
    })
  }
  carry(child.stdout, PAYLOAD_TYPE.Output, separate ? text(part.stdOutSeparatorPrefix) : '')
  carry(
    child.stderr,
    separate ? PAYLOAD_TYPE.StdErr : PAYLOAD_TYPE.Output,
    separate ? text(part.stdErrSeparatorPrefix) : '',
  )

  let failed = false
  child.on('error', (error: NodeJS.ErrnoException) => {
    failed = true
    const words = error.code === 'ENOENT' ? `${file}: command not found` : `${file}: ${error.message}`
    context.send(separate ? PAYLOAD_TYPE.StdErr : PAYLOAD_TYPE.Output, Buffer.from(`${words}\n`))
    if (separate) context.send(PAYLOAD_TYPE.ExitCode, buildExitCode(127))
    context.ended()
  })
  child.on('close', (code, signal) => {
    if (failed) return
    if (separate) context.send(PAYLOAD_TYPE.ExitCode, buildExitCode(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0)))
    context.ended()
  })

  function signalGroup(signal: NodeJS.Signals): void {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal)
    } catch {
      // Nothing of it is left.
    }
  }
  return {
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Output) {
        if (payload.includes(CTRL_C)) signalGroup('SIGINT')
        if (payload.includes(CTRL_BACKSLASH)) signalGroup('SIGQUIT')
      } else if (payloadType === PAYLOAD_TYPE.Flag) this.stop()
      return true
    },
    writable() {
      for (const stream of streams) stream.resume()
    },
    stop() {
      signalGroup('SIGTERM')
      setTimeout(() => {
        signalGroup('SIGKILL')
        // What left the group keeps the outputs open, and lives on: the session does not.
        context.ended()
        for (const stream of streams) stream.destroy()
      }, KILL_AFTER_MS)
    },
  }
}
