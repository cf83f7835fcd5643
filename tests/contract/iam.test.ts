import * as iam from '@aws-sdk/client-iam'
import { GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'

const policy = (...statements: object[]) => JSON.stringify({ Version: '2012-10-17', Statement: statements })
const TRUST = policy({ Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' })
const READ = policy({ Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*' })
const ADMINISTRATOR = 'arn:aws:iam::aws:policy/AdministratorAccess'

const clientOf = (account: TestAccount) => new iam.IAMClient(account.config)

describe('IAM', () => {
  it('creates, reads, updates, deletes and reads again a user', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const client = clientOf(account)
    const Tags = [{ Key: 'team', Value: 'harbour' }]
    const made = await client.send(new iam.CreateUserCommand({ UserName: 'Ada', Path: '/crew/', Tags }))
    expect(made.User).toMatchObject({ UserName: 'Ada', Path: '/crew/', Tags })
    expect(made.User?.UserId).toMatch(/^AIDA[A-Z2-7]{17}$/)
    expect(made.User?.Arn).toBe(`arn:aws:iam::${account.account}:user/crew/Ada`)
    await expect(client.send(new iam.CreateUserCommand({ UserName: 'ada' }))).rejects.toMatchObject({
      name: 'EntityAlreadyExistsException',
      message: 'User with name ada already exists.',
      $metadata: { httpStatusCode: 409 },
    })
    const read = await client.send(new iam.GetUserCommand({ UserName: 'Ada' }))
    expect(read.User).toEqual(made.User)
    await client.send(new iam.UpdateUserCommand({ UserName: 'Ada', NewUserName: 'Lovelace', NewPath: '/' }))
    await client.send(new iam.TagUserCommand({ UserName: 'Lovelace', Tags: [{ Key: 'TEAM', Value: 'engine' }] }))
    const renamed = await client.send(new iam.GetUserCommand({ UserName: 'Lovelace' }))
    expect(renamed.User).toMatchObject({
      UserId: made.User?.UserId,
      Path: '/',
      Tags: [{ Key: 'TEAM', Value: 'engine' }],
    })
    await client.send(new iam.CreateLoginProfileCommand({ UserName: 'Lovelace', Password: 'Correct horse 1' }))
    const profile = await client.send(new iam.GetLoginProfileCommand({ UserName: 'Lovelace' }))
    expect(profile.LoginProfile).toMatchObject({ UserName: 'Lovelace', PasswordResetRequired: false })
    await expect(client.send(new iam.DeleteUserCommand({ UserName: 'Lovelace' }))).rejects.toMatchObject({
      name: 'DeleteConflictException',
      message: 'Cannot delete entity, must delete login profile first.',
    })
    await client.send(new iam.DeleteLoginProfileCommand({ UserName: 'Lovelace' }))
    await client.send(new iam.DeleteUserCommand({ UserName: 'Lovelace' }))
    await expect(client.send(new iam.GetUserCommand({ UserName: 'Lovelace' }))).rejects.toMatchObject({
      name: 'NoSuchEntityException',
      message: 'The user with name Lovelace cannot be found.',
      $metadata: { httpStatusCode: 404 },
    })
    client.destroy()
  })

  it('keeps roles, their policies and their profiles as Terraform writes them', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const client = clientOf(account)
    const RoleName = 'node'
    const made = await client.send(
      new iam.CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: TRUST, Description: 'nodes' }),
    )
    expect(made.Role?.RoleId).toMatch(/^AROA/)
    expect(decodeURIComponent(made.Role?.AssumeRolePolicyDocument ?? '')).toBe(TRUST)
    const { Policy } = await client.send(new iam.CreatePolicyCommand({ PolicyName: 'read', PolicyDocument: READ }))
    const PolicyArn = Policy!.Arn!
    await client.send(new iam.AttachRolePolicyCommand({ RoleName, PolicyArn }))
    await client.send(new iam.AttachRolePolicyCommand({ RoleName, PolicyArn }))
    await client.send(
      new iam.AttachRolePolicyCommand({ RoleName, PolicyArn: 'arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore' }),
    )
    await client.send(new iam.PutRolePolicyCommand({ RoleName, PolicyName: 'own', PolicyDocument: READ }))
    const attached = await client.send(new iam.ListAttachedRolePoliciesCommand({ RoleName }))
    expect(attached.AttachedPolicies?.map((each) => each.PolicyName).sort()).toEqual(
      ['read', 'AmazonSSMManagedInstanceCore'].sort(),
    )
    const inline = await client.send(new iam.GetRolePolicyCommand({ RoleName, PolicyName: 'own' }))
    expect(decodeURIComponent(inline.PolicyDocument!)).toBe(READ)
    expect(inline.PolicyDocument).not.toContain('*')
    const entities = await client.send(new iam.ListEntitiesForPolicyCommand({ PolicyArn }))
    expect(entities.PolicyRoles).toEqual([{ RoleName, RoleId: made.Role?.RoleId }])
    const counted = await client.send(new iam.GetPolicyCommand({ PolicyArn }))
    expect(counted.Policy).toMatchObject({
      AttachmentCount: 1,
      DefaultVersionId: 'v1',
      PermissionsBoundaryUsageCount: 0,
    })
    await client.send(new iam.CreateInstanceProfileCommand({ InstanceProfileName: 'nodes' }))
    await client.send(new iam.AddRoleToInstanceProfileCommand({ InstanceProfileName: 'nodes', RoleName }))
    const profile = await client.send(new iam.GetInstanceProfileCommand({ InstanceProfileName: 'nodes' }))
    expect(profile.InstanceProfile?.Roles?.[0]?.RoleName).toBe(RoleName)
    const details = await client.send(
      new iam.GetAccountAuthorizationDetailsCommand({ Filter: ['Role', 'LocalManagedPolicy'] }),
    )
    expect(details.RoleDetailList?.[0]).toMatchObject({ RoleName, RolePolicyList: [{ PolicyName: 'own' }] })
    expect(details.Policies?.map((each) => each.PolicyName)).toEqual(['read'])
    const refusals = [
      [
        'Cannot delete entity, must remove roles from instance profile first.',
        new iam.RemoveRoleFromInstanceProfileCommand({ InstanceProfileName: 'nodes', RoleName }),
      ],
      [
        'Cannot delete entity, must detach all policies first.',
        new iam.DetachRolePolicyCommand({ RoleName, PolicyArn }),
      ],
      [
        'Cannot delete entity, must detach all policies first.',
        new iam.DetachRolePolicyCommand({
          RoleName,
          PolicyArn: 'arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore',
        }),
      ],
      [
        'Cannot delete entity, must delete policies first.',
        new iam.DeleteRolePolicyCommand({ RoleName, PolicyName: 'own' }),
      ],
    ] as const
    for (const [message, mend] of refusals) {
      await expect(client.send(new iam.DeleteRoleCommand({ RoleName }))).rejects.toMatchObject({ message })
      await client.send(mend as iam.DeleteRolePolicyCommand)
    }
    await client.send(new iam.DeleteRoleCommand({ RoleName }))
    await client.send(new iam.DeletePolicyCommand({ PolicyArn }))
    await client.send(new iam.DeleteInstanceProfileCommand({ InstanceProfileName: 'nodes' }))
    await expect(client.send(new iam.GetPolicyCommand({ PolicyArn }))).rejects.toMatchObject({
      message: `Policy ${PolicyArn} was not found.`,
    })
    await expect(client.send(new iam.GetRoleCommand({ RoleName }))).rejects.toMatchObject({
      name: 'NoSuchEntityException',
    })
    client.destroy()
  })

  it('holds versions, keys and policies to their quotas', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const client = clientOf(account)
    const { Policy } = await client.send(new iam.CreatePolicyCommand({ PolicyName: 'p', PolicyDocument: READ }))
    const PolicyArn = Policy!.Arn!
    const version = () =>
      client.send(new iam.CreatePolicyVersionCommand({ PolicyArn, PolicyDocument: READ, SetAsDefault: true }))
    for (let i = 0; i < 4; i++) await version()
    await expect(version()).rejects.toMatchObject({
      name: 'LimitExceededException',
      $metadata: { httpStatusCode: 409 },
    })
    await expect(client.send(new iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: 'v5' }))).rejects.toMatchObject(
      {
        message: 'Cannot delete the default version of a policy.',
      },
    )
    await client.send(new iam.DeletePolicyVersionCommand({ PolicyArn, VersionId: 'v1' }))
    expect((await version()).PolicyVersion?.VersionId).toBe('v6')
    const { Versions } = await client.send(new iam.ListPolicyVersionsCommand({ PolicyArn }))
    expect(Versions?.map((each) => each.VersionId)).toEqual(['v6', 'v5', 'v4', 'v3', 'v2'])
    await client.send(new iam.CreateUserCommand({ UserName: 'u' }))
    const key = () => client.send(new iam.CreateAccessKeyCommand({ UserName: 'u' }))
    await key()
    await key()
    await expect(key()).rejects.toMatchObject({ message: 'Cannot exceed quota for AccessKeysPerUser: 2' })
    await expect(
      client.send(
        new iam.PutUserPolicyCommand({ UserName: 'u', PolicyName: 'bad', PolicyDocument: '{"Version":"2012-10-17"}' }),
      ),
    ).rejects.toMatchObject({ name: 'MalformedPolicyDocumentException' })
    await expect(
      client.send(new iam.AttachUserPolicyCommand({ UserName: 'u', PolicyArn: `${PolicyArn}x` })),
    ).rejects.toMatchObject({ message: `Policy ${PolicyArn}x does not exist or is not attachable.` })
    client.destroy()
  })

  it('pages through users with markers that nobody else can use', async () => {
    await using testbed = await startTestbed()
    const [account, other] = [await testbed.account(), await testbed.account()]
    const client = clientOf(account)
    const names = ['a', 'B', 'c', 'D', 'e']
    for (const UserName of names) await client.send(new iam.CreateUserCommand({ UserName }))
    const seen: string[] = []
    let Marker: string | undefined
    let first: string | undefined
    do {
      const page = await client.send(new iam.ListUsersCommand({ MaxItems: 2, Marker }))
      expect(page.IsTruncated).toBe(page.Marker !== undefined)
      seen.push(...page.Users!.map((user) => user.UserName!))
      Marker = page.Marker
      first ??= Marker
    } while (Marker)
    expect(seen).toEqual(names)
    const stranger = clientOf(other)
    await expect(stranger.send(new iam.ListUsersCommand({ Marker: first }))).rejects.toMatchObject({
      name: 'ValidationError',
    })
    for (const each of [client, stranger]) each.destroy()
  })

  it('tells what a user could do without doing it', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const client = clientOf(account)
    const { User } = await client.send(new iam.CreateUserCommand({ UserName: 'u' }))
    await client.send(new iam.PutUserPolicyCommand({ UserName: 'u', PolicyName: 'read', PolicyDocument: READ }))
    const { EvaluationResults } = await client.send(
      new iam.SimulatePrincipalPolicyCommand({
        PolicySourceArn: User!.Arn,
        ActionNames: ['ssm:GetParameter', 'ssm:PutParameter'],
      }),
    )
    expect(EvaluationResults?.map((each) => each.EvalDecision)).toEqual(['allowed', 'implicitDeny'])
    const custom = await client.send(
      new iam.SimulateCustomPolicyCommand({
        PolicyInputList: [
          policy({
            Effect: 'Allow',
            Action: 'ssm:*',
            Resource: '*',
            Condition: { StringEquals: { 'aws:username': 'ada' } },
          }),
        ],
        ActionNames: ['ssm:GetParameter'],
      }),
    )
    expect(custom.EvaluationResults?.[0]).toMatchObject({
      EvalDecision: 'implicitDeny',
      MissingContextValues: ['aws:username'],
    })
    // As AWS counts: from behind what comes before a statement, to behind its end.
    const lines = [
      '{',
      '  "Version": "2012-10-17",',
      '  "Statement": [',
      '    {',
      '      "Effect": "Deny", "Action": "ssm:PutParameter", "Resource": "*"',
      '    },',
      '    { "Effect": "Allow", "Action": "ssm:*", "Resource": "*", "Condition": {',
      '      "StringNotEquals": { "aws:PrincipalTag/team": "x" } } }',
      '  ]',
      '}',
    ]
    const placed = await client.send(
      new iam.SimulateCustomPolicyCommand({
        PolicyInputList: [READ, lines.join('\n')],
        ActionNames: ['ssm:PutParameter', 'ssm:DeleteParameter', 'ssm:GetParameter'],
      }),
    )
    const [put, remove, get] = placed.EvaluationResults ?? []
    expect(put?.MatchedStatements).toEqual([
      {
        SourcePolicyId: 'PolicyInputList.2',
        SourcePolicyType: 'none',
        StartPosition: { Line: 3, Column: 17 },
        EndPosition: { Line: 6, Column: 6 },
      },
    ])
    expect(remove).toMatchObject({
      MatchedStatements: [{ StartPosition: { Line: 6, Column: 6 }, EndPosition: { Line: 8, Column: 62 } }],
      MissingContextValues: ['aws:PrincipalTag/team'],
    })
    expect(get?.MatchedStatements?.[0]).toMatchObject({
      SourcePolicyId: 'PolicyInputList.1',
      StartPosition: { Line: 1, Column: READ.indexOf('[') + 2 },
      EndPosition: { Line: 1, Column: READ.indexOf(']') + 1 },
    })
    const whole = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
    await client.send(new iam.PutUserPolicyCommand({ UserName: 'u', PolicyName: 'read', PolicyDocument: whole }))
    await client.send(new iam.AttachUserPolicyCommand({ UserName: 'u', PolicyArn: ADMINISTRATOR }))
    const resource = `arn:aws:ssm:us-east-1:${account.account}:parameter/a`
    const own = await client.send(
      new iam.SimulatePrincipalPolicyCommand({
        PolicySourceArn: User!.Arn,
        PolicyInputList: [lines.join('\n')],
        ActionNames: ['ssm:GetParameter'],
        ResourceArns: [resource],
        PermissionsBoundaryPolicyInputList: [READ],
      }),
    )
    expect(own.EvaluationResults).toMatchObject([
      {
        EvalResourceName: resource,
        EvalDecision: 'allowed',
        MissingContextValues: [],
        PermissionsBoundaryDecisionDetail: { AllowedByPermissionsBoundary: true },
        ResourceSpecificResults: [
          {
            EvalResourceName: resource,
            EvalResourceDecision: 'allowed',
            MissingContextValues: ['aws:PrincipalTag/team'],
            PermissionsBoundaryDecisionDetail: { AllowedByPermissionsBoundary: true },
          },
        ],
      },
    ])
    const sources = own.EvaluationResults?.[0]?.MatchedStatements?.map((each) => [
      each.SourcePolicyId,
      each.SourcePolicyType,
    ])
    expect(sources).toEqual(
      expect.arrayContaining([
        ['read', 'user'],
        ['AdministratorAccess', 'aws-managed'],
      ]),
    )
    const start = own.EvaluationResults?.[0]?.MatchedStatements?.find((each) => each.SourcePolicyId === 'read')
    expect(start).toMatchObject({ StartPosition: { Line: 1, Column: 38 }, EndPosition: { Line: 1, Column: 83 } })
    // By its own ARN alone: who may ask about one path must not reach another by it.
    for (const PolicySourceArn of [User!.Arn!.replace('user/', 'user/team/'), User!.Arn!.replace('user/u', 'user/U')]) {
      const asked = client.send(
        new iam.SimulatePrincipalPolicyCommand({ PolicySourceArn, ActionNames: ['ssm:GetParameter'] }),
      )
      await expect(asked).rejects.toMatchObject({ name: 'NoSuchEntityException' })
    }
    client.destroy()
  })

  it('lets AWS-managed policies be found and attached', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const client = clientOf(account)
    const { Policies } = await client.send(new iam.ListPoliciesCommand({ Scope: 'AWS' }))
    expect(Policies?.map((each) => each.PolicyName)).toContain('AmazonSSMManagedInstanceCore')
    await client.send(new iam.CreateUserCommand({ UserName: 'u' }))
    await client.send(new iam.AttachUserPolicyCommand({ UserName: 'u', PolicyArn: ADMINISTRATOR }))
    const { AccessKey } = await client.send(new iam.CreateAccessKeyCommand({ UserName: 'u' }))
    const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
    const ssm = new SSMClient({ ...account.config, credentials })
    await ssm.send(new PutParameterCommand({ Name: '/a', Value: 'b', Type: 'String' }))
    expect((await ssm.send(new GetParameterCommand({ Name: '/a' }))).Parameter?.Value).toBe('b')
    const self = new iam.IAMClient({ ...account.config, credentials })
    expect((await self.send(new iam.GetUserCommand({}))).User?.UserName).toBe('u')
    for (const each of [client, ssm, self]) each.destroy()
  })
})
