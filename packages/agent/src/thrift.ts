// What V8 and libuv are told so that an agent that has little to do stays small: after a hundred commands 56 MB instead
// of 72. Called by the bundle's entry before anything else, and by main.ts when a session wants speed.

import { setFlagsFromString } from 'node:v8'

/** The agent waits for its disk with few files at once; each thread more costs an arena of the allocator. */
const FILE_THREADS = '2'

export function staySmall(): void {
  // The young generation keeps the size that it begins with: 9 MB less, for somewhat more frequent collections of 1 MB.
  setFlagsFromString('--semi-space-growth-factor=1')
  // The optimizing compiler alone is 4 MB of code that an idle agent never needs.
  setFlagsFromString('--no-opt')
  process.env.UV_THREADPOOL_SIZE ??= FILE_THREADS
}

/** Code that runs often is compiled for speed from now on: the bytes of a session pass through here. */
export function beFast(): void {
  setFlagsFromString('--opt')
}
