/** Reads nodes in the order of their ids with what is computed of them, and keeps those that match, a page at a time. */
import type { Context } from '../../platform/context.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { connectedNodes } from '../messaging/index.ts'
import { isLatestVersion, type PingStatus, pingStatus } from './rules.ts'
import * as store from './store.ts'

/** Rows read at a time while what is computed thins them out. */
const READ_ROWS = 200

export interface KnownNode extends store.NodeRow {
  pingStatus: PingStatus
  isLatestVersion: boolean | undefined
}

export async function* allNodes(
  context: Context,
  stored: store.NodeFilter[],
  from?: string,
): AsyncGenerator<KnownNode, void> {
  let after = from
  for (;;) {
    const rows = await store.listNodes(context.sql, context, stored, after, READ_ROWS)
    const ids = rows.map((row) => row.nodeId)
    const connected = await connectedNodes(context, ids)
    const { connectionLostMinutes, agentVersion } = context.choices
    for (const row of rows) {
      const status = pingStatus(
        row.lastPingAt ?? undefined,
        connected.has(row.nodeId),
        context.now(),
        connectionLostMinutes,
      )
      yield { ...row, pingStatus: status, isLatestVersion: isLatestVersion(row.agentVersion, agentVersion) }
    }
    if (rows.length < READ_ROWS) return
    after = rows.at(-1)!.nodeId
  }
}

/** One page of the nodes that match. Errors: InvalidNextToken. */
export async function pageOfNodes(
  context: Context,
  operation: string,
  input: { NextToken?: string; limit: number },
  stored: store.NodeFilter[],
  matches: (node: KnownNode) => boolean,
): Promise<{ nodes: KnownNode[]; NextToken: string | undefined }> {
  const after = decodeToken<{ nodeId: string }>(context, operation, input.NextToken)?.nodeId
  const nodes: KnownNode[] = []
  for await (const node of allNodes(context, stored, after)) {
    if (!matches(node)) continue
    if (nodes.length === input.limit)
      return { nodes, NextToken: encodeToken(context, operation, { nodeId: nodes.at(-1)!.nodeId }) }
    nodes.push(node)
  }
  return { nodes, NextToken: undefined }
}
