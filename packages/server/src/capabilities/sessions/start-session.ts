/**
 * StartSession: looks node and document up, writes the session, a token for its client and the message that makes the
 * node's agent open its end, in one transaction. Both ends dial the process that holds the node's control channel.
 */
import { DocumentError, resolveParameters, type SessionDocument } from '@musterbook/document'
import { buildInteractiveShell, CONTROL_MESSAGE, type JsonObject } from '@musterbook/wire'
import type { Input, Output } from '../../contract/types.ts'
import { type Caller, callerName } from '../../platform/caller.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { documentAccess, findDocument } from '../documents/index.ts'
import { mayDo } from '../identity/index.ts'
import { post, streamOriginOf } from '../messaging/index.ts'
import { findNodes, onNode } from '../nodes/index.ts'
import { serviceSetting } from '../settings/index.ts'
import { kmsKeyOf, limitsOf, newSessionId, PREFERENCES_DOCUMENT, plainOrigin } from './rules.ts'
import { sessionKey } from './session-key.ts'
import * as store from './store.ts'
import { issueToken } from './tokens.ts'

type Request = Input<'StartSession'>

/**
 * Asked for beside ssm:StartSession when the document opens a port and no policy names it: a policy that lets somebody have a
 * shell, with whatever document, does not by that let them reach what the node can reach.
 */
export const PORT_ACTION = 'ssm:StartPortSession'

/** The account's choice whether sessions are recorded. */
const RECORDING_SETTING = '/musterbook/session-manager/recording'

/** AWS's name of the tag of a user, a role or a session. */
const RUN_AS_TAG = 'SSMSessionRunAs'

/** Whether the permission on the document is asked for as well: true unless the request leaves the document out. */
const DOCUMENT_CHECK = 'ssm:SessionDocumentAccessCheck'

/**
 * The node, by its ARN and its tags, and the document that the request names. As in AWS, the permission on the node alone
 * is enough for a session that names no document, unless the policy that gives it wants the document to be checked.
 */
export async function startAccess(input: Request, context: Context): Promise<Access[]> {
  const name = input.DocumentName ?? PREFERENCES_DOCUMENT
  const node = onNode(context, input.Target)
  const found = await findDocument(context, name, undefined).catch(() => undefined) // refused later, in its own words
  const isPort = found?.document.kind === 'session' && found.document.sessionType === 'Port'
  if (input.DocumentName === undefined && !isPort) {
    const alone: Access = { ...node, keys: { [DOCUMENT_CHECK]: 'false' } }
    if (await mayDo(context, { ...alone, action: 'ssm:StartSession' })) return [alone]
  }
  const checked = (access: Access): Access => ({ ...access, keys: { ...access.keys, [DOCUMENT_CHECK]: 'true' } })
  const document = await documentAccess(context, name)
  const access = [checked(node), checked(document)]
  return isPort && !(await isNamed(context, document, checked))
    ? [...access, { ...document, action: PORT_ACTION }]
    : access
}

/**
 * Whether the caller's policies mean this document rather than any one, as those do that are written for AWS: the permission
 * is there for it and would not be for another one of the same owner, of whose name no policy can know.
 */
async function isNamed(context: Context, document: Access, checked: (access: Access) => Access): Promise<boolean> {
  const may = (access: Access) => mayDo(context, { ...checked(access), action: 'ssm:StartSession' })
  const resources = document.resources.map((arn) => arn.replace(/[^/]*$/, strangeName))
  return (await may(document)) && !(await may({ resources }))
}

const AMAZON = /^(AWS|Amazon)-/
const strangeName = (name: string): string => `${AMAZON.exec(name)?.[0] ?? ''}${uuid()}`

/** Errors: InvalidDocument, TargetNotConnected. */
export async function startSession(context: Context, input: Request): Promise<Output<'StartSession'>> {
  const name = input.DocumentName ?? PREFERENCES_DOCUMENT
  const { document, content } = await sessionDocument(context, name)
  const preferences = await sessionDocument(context, PREFERENCES_DOCUMENT)
  const parameters = flattened(document, input.Parameters ?? {}, name)
  const [node] = await findNodes(context, [input.Target])
  const origin = node && (await streamOriginOf(context, input.Target))
  if (!origin) throw new AwsError('TargetNotConnected', `${input.Target} is not connected.`)

  const keyId = kmsKeyOf(document)
  const kmsKey = keyId === undefined ? '' : await sessionKey(context, keyId)
  const { account, region } = context
  const session: store.NewSession = {
    account,
    region,
    sessionId: newSessionId(context.caller),
    nodeId: input.Target,
    documentName: name,
    sessionType: document.sessionType,
    owner: callerName(context.caller),
    reason: input.Reason ?? '',
    startedAt: context.now(),
    ...limitsOf(document, preferences.document),
    encrypted: kmsKey !== '',
    kmsKey,
    recorded: (await serviceSetting(context, RECORDING_SETTING)) === 'true',
    destination: destinationOf(document, parameters),
    letterId: uuid(),
  }
  const token = await context.transaction(async (inner) => {
    await store.insertSession(inner.sql, session)
    await post(inner, letter(session, content, parameters, runAsUser(context.caller)))
    return issueToken(inner, session.sessionId, 'client')
  })
  context.log.info(
    { sessionId: session.sessionId, nodeId: session.nodeId, owner: session.owner, document: name },
    'a session starts',
  )
  return { SessionId: session.sessionId, TokenValue: token, StreamUrl: streamUrl(context, origin, session.sessionId) }
}

/** Where the client dials; `origin` is that of the process which carries the session. */
export function streamUrl(context: Context, origin: string, sessionId: string): string {
  const dialled = (origin === context.streamOrigin() ? plainOrigin(context) : undefined) ?? origin
  return `${dialled}/v1/data-channel/${encodeURIComponent(sessionId)}?role=publish_subscribe`
}

async function sessionDocument(
  context: Context,
  name: string,
): Promise<{ document: SessionDocument; content: JsonObject }> {
  const { document, documentType, content } = await findDocument(context, name, undefined).catch((error: unknown) => {
    throw error instanceof AwsError ? new AwsError('InvalidDocument', error.message) : error
  })
  if (document.kind !== 'session')
    throw new AwsError(
      'InvalidDocument',
      `Document type: '${documentType}' is not supported. Only type: 'Session' is supported for Session Manager.`,
    )
  return { document, content: content as JsonObject }
}

/** Values by their type: a String is a string, since the agent reads no lists. */
function flattened(document: SessionDocument, given: Record<string, string[]>, name: string): JsonObject {
  try {
    return resolveParameters(document, given, name) as JsonObject
  } catch (error) {
    if (error instanceof DocumentError) throw new AwsError('InvalidDocument', error.message)
    throw error
  }
}

const destinationOf = ({ sessionType }: SessionDocument, { host, portNumber }: JsonObject): string =>
  sessionType === 'Port' ? `${typeof host === 'string' ? host : 'localhost'}:${portNumber}` : ''

/** The operating system's user that a principal is tagged with; it counts where the document enables RunAs. */
const runAsUser = (caller: Caller): string => ('tags' in caller && caller.tags[RUN_AS_TAG]) || ''

function letter(session: store.NewSession, content: JsonObject, parameters: JsonObject, RunAsUser: string) {
  const { account, region, nodeId, sessionId, letterId } = session
  const payload = buildInteractiveShell({
    SessionId: sessionId,
    DocumentName: session.documentName,
    DocumentContent: content,
    Parameters: parameters,
    RunAsUser,
    SessionOwner: session.owner,
  })
  return {
    messageType: CONTROL_MESSAGE.interactiveShell,
    topic: CONTROL_MESSAGE.interactiveShell,
    contentId: uuid(),
    content: Buffer.from(payload).toString(),
    messages: [{ account, region, nodeId, messageId: letterId, jobId: `session/${sessionId}` }],
  }
}
