// What lies under a key that ends in `/` of an S3-compatible store, by ListObjectsV2.

import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginRun } from './step.ts'

/** More is hardly what somebody wants on a node; each is a request of its own. */
const MOST_FILES = 10_000

export interface S3File {
  url: URL
  /** Below the folder, with `/` between its parts; leads out of no folder. */
  path: string
}

/** The address is `https://host/bucket/folder/`, or `https://bucket.s3.…/folder/`. */
export async function filesIn(step: PluginRun, folder: URL): Promise<S3File[]> {
  const { root, prefix } = placeOf(folder)
  const files: S3File[] = []
  let token: string | undefined
  do {
    const page = await list(step, root, prefix, token)
    for (const key of page.keys) {
      // Consoles make an empty object of a folder's own name.
      if (key.endsWith('/')) continue
      const parts = key.slice(prefix.length).split('/')
      if (!key.startsWith(prefix) || parts.some((part) => part === '' || part === '.' || part === '..'))
        throw new Error(`the key ${key} cannot be a path below a folder`)
      files.push({ url: new URL(root.href + encoded(key)), path: parts.join('/') })
    }
    if (files.length > MOST_FILES) throw new Error(`more than ${MOST_FILES} files lie in ${folder.pathname}`)
    token = page.next
  } while (token !== undefined)
  return files
}

function placeOf(folder: URL): { root: URL; prefix: string } {
  const [bucket = '', ...rest] = folder.pathname.slice(1).split('/')
  const isInHost = /\.s3[.-][a-z0-9.-]*amazonaws\.com(\.cn)?$/.test(folder.hostname)
  if (!isInHost && bucket === '') throw new Error('path in sourceInfo must name a bucket')
  const path = isInHost ? folder.pathname.slice(1) : rest.join('/')
  return { root: new URL(isInHost ? '/' : `/${bucket}/`, folder), prefix: decodeURIComponent(path) }
}

async function list(
  step: PluginRun,
  root: URL,
  prefix: string,
  token: string | undefined,
): Promise<{ keys: string[]; next: string | undefined }> {
  const url = new URL(root)
  // Keys come encoded: XML has no place for everything that may stand in one.
  const query = { 'list-type': '2', 'encoding-type': 'url', prefix, ...(token ? { 'continuation-token': token } : {}) }
  url.search = Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&')
  const file = join(step.folder, 'list.xml')
  await step.download(url, file)
  const xml = await readFile(file, 'utf8')
  await rm(file, { force: true })
  if (!xml.includes('<ListBucketResult')) throw new Error(`${root.host} does not answer ListObjectsV2`)
  const keys = [...xml.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => decoded(key))
  const next = /<NextContinuationToken>([^<]*)<\/NextContinuationToken>/.exec(xml)?.[1]
  return { keys, next: next === undefined ? undefined : unescaped(next) }
}

/** In this encoding a blank is a plus, as in forms. */
const decoded = (key: string): string => decodeURIComponent(key.replaceAll('+', ' '))

const unescaped = (text: string): string =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')

const encoded = (key: string): string => key.split('/').map(encodeURIComponent).join('/')
