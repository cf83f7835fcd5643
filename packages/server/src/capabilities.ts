/** The list, lowest first. A capability may import what stands above it here, through its index.ts, and nothing below. */
import { commands } from './capabilities/commands/index.ts'
import { documents } from './capabilities/documents/index.ts'
import { identity } from './capabilities/identity/index.ts'
import { keys } from './capabilities/keys/index.ts'
import { messaging } from './capabilities/messaging/index.ts'
import { nodes } from './capabilities/nodes/index.ts'
import { parameters } from './capabilities/parameters/index.ts'
import { rootKey } from './capabilities/root-key/index.ts'
import { sessions } from './capabilities/sessions/index.ts'
import { settings } from './capabilities/settings/index.ts'
import { tags } from './capabilities/tags/index.ts'
import { trail } from './capabilities/trail/index.ts'
import type { Capability } from './platform/capability.ts'

const owners: Capability[] = [parameters, documents, nodes, commands, sessions]

const all: Capability[] = [settings, tags(owners), messaging, identity, keys, trail, ...owners]

export const capabilities: Capability[] = [...all, rootKey(all)]
