/**
 * The floor of the parameters bench: a bare node:http server that reads the same bytes and answers the same bytes with the
 * same headers, and does nothing in between.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { answerQuestions } from './child.process.ts'

export type FloorQuestion =
  | { kind: 'listen' }
  | { kind: 'answer'; requestId: string; contentType: string; body: string }

let answer = { requestId: '', contentType: '', body: '' }

const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    if (Buffer.concat(chunks).length === 0) return response.destroy()
    const { requestId, contentType, body } = answer
    response.setHeader('x-amzn-RequestId', requestId)
    response.writeHead(200, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) })
    response.end(body)
  })
})

answerQuestions<FloorQuestion>(async (question) => {
  if (question.kind === 'answer') {
    answer = question
    return undefined
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' ? address?.port : undefined
})
