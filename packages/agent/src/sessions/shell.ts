// Standard_Stream and InteractiveCommands: a shell, or one command, on a pseudo terminal. Bytes go as they are; a client
// that does not keep up stops the program through its terminal, nothing piles up here.

import { existsSync } from 'node:fs'
import { PAYLOAD_TYPE, parseSize } from '@musterbook/wire'
import type { Kind, KindContext } from './kind.ts'
import { type Pty, startPty } from './pty.ts'
import { environmentOf } from './run-as.ts'

/** Bytes of one Output message: keeps a keystroke's echo from waiting behind a long one. */
const OUTPUT_BYTES = 16 * 1024
/** Bytes typed or pasted that the program has not read yet. */
const MAX_UNREAD_INPUT = 4 * 1024 * 1024

/** `command` undefined: an interactive shell, into which `profile` is typed first. */
export function startShell(context: KindContext, command: string | undefined, profile: string): Kind {
  const { runAs } = context
  const argv = [...runAs.prefix, 'sh', ...(command === undefined ? [] : ['-c', command])]
  const [file = 'sh', ...args] = argv
  let unread = 0
  const pty: Pty = startPty(
    {
      file,
      args,
      environment: environmentOf(runAs),
      folder: existsSync(runAs.home) ? runAs.home : '/',
      cols: 80,
      rows: 24,
    },
    {
      output(bytes) {
        let room = true
        for (let at = 0; at < bytes.length; at += OUTPUT_BYTES)
          room = context.send(PAYLOAD_TYPE.Output, bytes.subarray(at, at + OUTPUT_BYTES))
        if (!room) pty.pause()
      },
      exit: () => context.ended(),
    },
  )
  const type = (bytes: Uint8Array) => {
    unread += bytes.length
    pty.write(bytes, () => {
      unread -= bytes.length
    })
  }
  if (profile !== '') type(Buffer.from(`${profile}\n`))
  return {
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Output) {
        if (unread > MAX_UNREAD_INPUT) return false
        type(payload)
      } else if (payloadType === PAYLOAD_TYPE.Size) {
        const { cols, rows } = parseSize(payload)
        pty.resize(cols, rows)
      } else if (payloadType === PAYLOAD_TYPE.Flag) pty.kill()
      return true
    },
    writable: () => pty.resume(),
    stop: () => pty.kill(),
  }
}
