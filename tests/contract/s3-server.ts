/** As much of S3 as trails and the AWS CLI's validate-logs use: buckets in memory, over HTTP, path-style. */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Stored {
  body: Buffer
  metadata: Record<string, string>
}

export interface S3Server extends AsyncDisposable {
  origin: string
  /** Objects by `bucket/key`. */
  objects: Map<string, Stored>
  /** How often each was put. */
  puts: Map<string, number>
  /** Buckets that exist. */
  buckets: Set<string>
  /** While it is true, every put is refused. */
  refuses: boolean
}

const xml = (response: ServerResponse, status: number, body: string): void => {
  response.writeHead(status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${body}`)
}

export async function startS3(...buckets: string[]): Promise<S3Server> {
  const objects = new Map<string, Stored>()
  const puts = new Map<string, number>()
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const url = new URL(request.url ?? '', 'http://s3')
    const path = decodeURIComponent(url.pathname.slice(1))
    const bucket = path.split('/', 1)[0] ?? ''
    const key = path.slice(bucket.length + 1)
    if (!state.buckets.has(bucket)) return xml(response, 404, '<Error><Code>NoSuchBucket</Code></Error>')
    if (request.method === 'PUT') {
      if (state.refuses) return xml(response, 403, '<Error><Code>AccessDenied</Code></Error>')
      const metadata = Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-'))
      objects.set(path, {
        body: Buffer.concat(parts),
        metadata: Object.fromEntries(metadata) as Record<string, string>,
      })
      puts.set(path, (puts.get(path) ?? 0) + 1)
      response.end()
    } else if (key === '' && url.searchParams.has('location')) {
      xml(response, 200, '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>')
    } else if (key === '') {
      const { prefix = '', marker = '' } = Object.fromEntries(url.searchParams)
      const keys = [...objects.keys()]
        .filter((each) => each.startsWith(`${bucket}/`))
        .map((each) => each.slice(bucket.length + 1))
        .filter((each) => each.startsWith(prefix) && each > marker)
        .sort()
      const contents = keys.map((each) => `<Contents><Key>${each}</Key></Contents>`).join('')
      xml(response, 200, `<ListBucketResult><IsTruncated>false</IsTruncated>${contents}</ListBucketResult>`)
    } else {
      const found = objects.get(path)
      if (!found) return xml(response, 404, '<Error><Code>NoSuchKey</Code></Error>')
      response.writeHead(200, { ...found.metadata, 'content-length': found.body.length }).end(found.body)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const state: S3Server = {
    origin: `http://127.0.0.1:${port}`,
    objects,
    puts,
    buckets: new Set(buckets),
    refuses: false,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return state
}
