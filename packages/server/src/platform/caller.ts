/** Who makes a request, as authentication found out. */
export type Caller =
  | { readonly type: 'anonymous'; readonly arn: ''; readonly account: '' }
  | { readonly type: 'root'; readonly account: string; readonly arn: string; readonly accessKeyId: string }
  | {
      readonly type: 'node'
      readonly account: string
      readonly region: string
      readonly nodeId: string
      readonly arn: string
      readonly accessKeyId: string
    }

export const anonymous: Caller = { type: 'anonymous', arn: '', account: '' }

/** The text that LastModifiedUser and audit records show. */
export const callerName = (caller: Caller): string => caller.arn
