// aws:runDocument: the steps of another document as this step, from the control plane or from a file on this machine.

import { readFile } from 'node:fs/promises'
import { extname, isAbsolute, join } from 'node:path'
import { type Json, type JsonObject, parseReference } from '@musterbook/document'
import { reason } from '../log.ts'
import { failed, type InnerDocument, type Plugin, type PluginRun, textInput } from './step.ts'

/** What documents with hooks call when nobody has hooked anything in; there is no document of that name. */
const NO_DOCUMENT = 'AWS-Noop'

export const runDocument: Plugin = async (step) => {
  const type = textInput(step.inputs, 'documentType')
  const path = textInput(step.inputs, 'documentPath')
  try {
    if (path === '') return failed('documentPath must be given')
    if (path === NO_DOCUMENT) return { exitCode: 0 }
    const parameters = documentParameters(step.inputs.documentParameters)
    switch (type) {
      case 'SSMDocument':
        return await step.runInner(() => storedDocument(step, path), parameters)
      case 'LocalPath':
        return await step.runInner(() => localDocument(step, path), parameters)
      default:
        return failed(`documentType must be SSMDocument or LocalPath, not ${type === '' ? 'empty' : type}`)
    }
  } catch (error) {
    return failed(reason(error))
  }
}

async function storedDocument(step: PluginRun, path: string): Promise<InnerDocument> {
  const { version } = parseReference(path)
  const Name = version === undefined ? path : path.slice(0, -(version.length + 1))
  const input = { Name, DocumentFormat: 'JSON', ...(version === undefined ? {} : { DocumentVersion: version }) }
  const { Content: text } = await step.call('GetDocument', input)
  if (typeof text !== 'string') throw new Error(`the document ${path} came without content`)
  return { text, format: 'JSON' }
}

async function localDocument(step: PluginRun, path: string): Promise<InnerDocument> {
  const text = await readFile(isAbsolute(path) ? path : join(step.downloads, path), 'utf8')
  return { text, format: /^\.ya?ml$/i.test(extname(path)) ? 'YAML' : 'JSON' }
}

function documentParameters(given: Json | undefined): JsonObject {
  const value: Json | undefined = typeof given === 'string' && given.trim() !== '' ? JSON.parse(given) : given
  if (value === undefined || value === null || value === '') return {}
  if (typeof value === 'object' && !Array.isArray(value)) return value
  throw new Error('documentParameters must be a JSON object')
}
