/** What `up` and `serve` say once they stand: where things are, and three commands to paste. */
import type { Config } from './config.ts'
import { isNameless } from './serve.ts'
import type { Up } from './up.ts'

export async function greet(config: Config, { serving, nodeId }: Up, startedAt: number): Promise<void> {
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1)
  say([
    '',
    `Musterbook is ready (${seconds} s).`,
    '',
    `  AWS endpoint   ${serving.endpoint}`,
    `  for nodes      ${serving.nodeEndpoint}   authority: ${config.data}/ca.pem`,
    `  credentials    ${serving.environmentFile}   account ${serving.server.root.account}, region ${config.region}`,
  ])
  if (isNameless(config))
    say([
      '  other machines would be sent to 127.0.0.1 for their sessions: give the name that they know this one by, --host-names',
    ])
  const node = await nodeId
  const target = node ?? '<node>'
  if (!config.noAgent && config.command === 'up')
    say([node ? `  this machine   ${node}` : '  this machine   is not a node yet; the log above says why'])
  say([
    '',
    'Paste into another terminal:',
    '',
    `  source ${serving.environmentFile}`,
    '  aws ssm put-parameter --name /myapp/database/password --value mypassword123 --type SecureString',
    `  aws ssm send-command --instance-ids ${target} --document-name AWS-RunShellScript --parameters commands='["uname -a"]'`,
    '  aws ssm list-command-invocations --details',
    '',
    'Ctrl-C stops everything.',
    '',
  ])
}

const say = (lines: string[]) => process.stdout.write(`${lines.join('\n')}\n`)
