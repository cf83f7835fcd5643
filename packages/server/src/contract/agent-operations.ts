/**
 * The operations that amazon-ssm-agent calls and AWS does not publish: eight of AmazonSSM, and the whole of
 * EC2WindowsMessageDeliveryService (`ec2messages`, API 2015-06-19). Members, lengths and errors are those that the agent
 * itself checks before it sends. model.ts serves them beside the published ones.
 */
import {
  boolean,
  declareOperation,
  integer,
  list,
  map,
  oneOf,
  required,
  string,
  structure,
  timestamp,
} from './declare.ts'

/** The agent refuses to send a shorter one. */
const instanceId = () => string({ min: 10 })
/** base64 of a PKIX RSA-2048 public key is exactly 392 characters. */
const publicKey = () => string({ min: 392 })
const publicKeyType = () => oneOf('Rsa')
const secret = () => string({ sensitive: true })
const empty = (name: string) => structure(name, {})

const tag = structure('Tag', {
  Key: required(string({ min: 1, max: 128 })),
  Value: required(string({ max: 256 })),
})

const associationSummary = structure('InstanceAssociationSummary', {
  AssociationId: string(),
  AssociationVersion: string(),
  Checksum: string(),
  DetailedStatus: string(),
  DocumentVersion: string(),
  InstanceId: instanceId(),
  LastExecutionDate: timestamp(),
  Name: string(),
  OutputLocation: structure('InstanceAssociationOutputLocation', {
    S3Location: structure('S3OutputLocation', {
      OutputS3BucketName: string({ min: 3, max: 63 }),
      OutputS3KeyPrefix: string({ max: 500 }),
      OutputS3Region: string({ min: 3, max: 20 }),
    }),
  }),
  Parameters: map(list(string()), { sensitive: true }),
  ScheduleExpression: string({ min: 1, max: 256 }),
  Status: string(),
  Targets: list(structure('Target', { Key: string({ min: 1, max: 163 }), Values: list(string()) })),
})

const executionResult = structure('InstanceAssociationExecutionResult', {
  Status: required(string()),
  ExecutionDate: required(timestamp()),
  /** The agent cuts it at 510 characters. */
  ExecutionSummary: required(string({ min: 1, max: 512 })),
  ErrorCode: string(),
  OutputUrl: structure('InstanceAssociationOutputUrl', {
    S3OutputUrl: structure('S3OutputUrl', { OutputUrl: string() }),
  }),
})

/** Operations of AmazonSSM that only agents call. */
export const agentSsmOperations = {
  RegisterManagedInstance: declareOperation(
    'ssm',
    'RegisterManagedInstance',
    structure('RegisterManagedInstanceRequest', {
      Fingerprint: required(string()),
      PublicKey: required(publicKey()),
      ActivationCode: string({ min: 20, max: 250, sensitive: true }),
      ActivationId: string({ min: 36, max: 36 }),
      IamRole: string({ min: 1, max: 64 }),
      PublicKeyType: publicKeyType(),
      Tags: list(tag),
    }),
    structure('RegisterManagedInstanceResult', { InstanceId: required(instanceId()) }),
    [
      'ActivationExpired',
      'DuplicateInstanceId',
      'InstanceAlreadyRegistered',
      'InternalServerError',
      'InvalidActivation',
      'InvalidActivationId',
      'InvalidPublicKey',
      'RegistrationLimitExceeded',
      'TooManyUpdates',
    ],
  ),
  RequestManagedInstanceRoleToken: declareOperation(
    'ssm',
    'RequestManagedInstanceRoleToken',
    structure('RequestManagedInstanceRoleTokenRequest', { Fingerprint: required(string()) }),
    // All five or the agent's refresher panics.
    structure('RequestManagedInstanceRoleTokenResult', {
      AccessKeyId: required(secret()),
      SecretAccessKey: required(secret()),
      SessionToken: required(secret()),
      TokenExpirationDate: required(timestamp()),
      UpdateKeyPair: required(boolean()),
    }),
    ['InternalServerError', 'InvalidInstanceId', 'MachineFingerprintDoesNotMatch'],
  ),
  UpdateManagedInstancePublicKey: declareOperation(
    'ssm',
    'UpdateManagedInstancePublicKey',
    structure('UpdateManagedInstancePublicKeyRequest', {
      NewPublicKey: required(publicKey()),
      NewPublicKeyType: required(publicKeyType()),
    }),
    empty('UpdateManagedInstancePublicKeyResult'),
    ['InternalServerError', 'InvalidInstanceId', 'InvalidPublicKey'],
  ),
  UpdateInstanceInformation: declareOperation(
    'ssm',
    'UpdateInstanceInformation',
    structure('UpdateInstanceInformationRequest', {
      InstanceId: required(instanceId()),
      AgentName: string({ min: 1 }),
      AgentStatus: string({ min: 1 }),
      AgentVersion: string({ min: 5 }),
      AvailabilityZone: string(),
      AvailabilityZoneId: string(),
      ComputerName: string({ min: 1, max: 255 }),
      IPAddress: string({ min: 1, max: 46 }),
      PlatformName: string(),
      PlatformType: oneOf('Linux', 'Windows', 'MacOS'),
      PlatformVersion: string(),
      SSMConnectionChannel: string(),
    }),
    empty('UpdateInstanceInformationResult'),
    ['InternalServerError', 'InvalidInstanceId'],
  ),
  ListInstanceAssociations: declareOperation(
    'ssm',
    'ListInstanceAssociations',
    structure('ListInstanceAssociationsRequest', {
      InstanceId: required(instanceId()),
      MaxResults: integer({ min: 1, max: 50 }),
      NextToken: string(),
    }),
    structure('ListInstanceAssociationsResult', { Associations: list(associationSummary), NextToken: string() }),
    ['InternalServerError', 'InvalidInstanceId', 'InvalidNextToken'],
  ),
  UpdateInstanceAssociationStatus: declareOperation(
    'ssm',
    'UpdateInstanceAssociationStatus',
    structure('UpdateInstanceAssociationStatusRequest', {
      AssociationId: required(string()),
      InstanceId: required(instanceId()),
      ExecutionResult: required(executionResult),
      AssociationVersion: string(),
    }),
    empty('UpdateInstanceAssociationStatusResult'),
    ['AssociationDoesNotExist', 'InternalServerError', 'InvalidInstanceId', 'StatusUnchanged', 'TooManyUpdates'],
  ),
  GetManifest: declareOperation(
    'ssm',
    'GetManifest',
    structure('GetManifestRequest', { PackageName: required(string()), PackageVersion: required(string()) }),
    structure('GetManifestResult', { Manifest: string() }),
    ['InternalServerError', 'ResourceNotFoundException'],
  ),
  PutConfigurePackageResult: declareOperation(
    'ssm',
    'PutConfigurePackageResult',
    structure('PutConfigurePackageResultRequest', {
      PackageName: required(string()),
      PackageVersion: required(string()),
      Operation: required(oneOf('Install', 'Uninstall')),
      /** Milliseconds. */
      OverallTiming: required(integer()),
      Result: required(integer()),
      PreviousPackageVersion: string(),
      Attributes: map(string(), { min: 1 }),
      Steps: list(
        structure('ConfigurePackageResultStep', {
          Action: string({ min: 1 }),
          Result: integer(),
          Timing: integer(),
        }),
        { min: 1 },
      ),
    }),
    empty('PutConfigurePackageResultResult'),
    ['InternalServerError'],
  ),
} as const

const messageId = () => string({ min: 16 })

const message = structure('Message', {
  /** Exactly `yyyy-MM-ddTHH:mm:ss.fffZ`; anything else reads as the year 0. */
  CreatedDate: required(string({ min: 24 })),
  Destination: required(instanceId()),
  MessageId: required(messageId()),
  Payload: required(string()),
  Topic: required(string({ min: 1 })),
  PayloadDigest: string(),
  NextToken: string(),
})

const ec2messagesErrors = [
  'AuthorizationFailureException',
  'InternalServerException',
  'InvalidDestinationException',
  'InvalidMessageIdException',
  'RequestTimeoutException',
  'TooManyRequestsException',
  'UnsupportedMessageOperationException',
] as const

/** Operations of EC2WindowsMessageDeliveryService. */
export const ec2messagesOperations = {
  GetMessages: declareOperation(
    'ec2messages',
    'GetMessages',
    structure('GetMessagesRequest', {
      Destination: required(instanceId()),
      MessagesRequestId: required(messageId()),
      NextToken: string(),
      VisibilityTimeoutInSeconds: integer(),
    }),
    structure('GetMessagesResult', {
      Destination: instanceId(),
      MessagesRequestId: messageId(),
      Messages: list(message),
    }),
    ec2messagesErrors,
  ),
  AcknowledgeMessage: declareOperation(
    'ec2messages',
    'AcknowledgeMessage',
    structure('AcknowledgeMessageRequest', { MessageId: required(messageId()) }),
    empty('AcknowledgeMessageResult'),
    ec2messagesErrors,
  ),
  SendReply: declareOperation(
    'ec2messages',
    'SendReply',
    structure('SendReplyRequest', {
      MessageId: required(messageId()),
      ReplyId: required(messageId()),
      Payload: required(string()),
      DeliveryOptions: structure('DeliveryOptions', {
        ExpiresAfter: string({ min: 1 }),
        ReplacementKey: string(),
        SchedulePush: string(),
      }),
    }),
    structure('SendReplyResult', {
      Description: string(),
      MessageId: messageId(),
      ReplyId: messageId(),
      ReplyStatus: string(),
    }),
    ec2messagesErrors,
  ),
  FailMessage: declareOperation(
    'ec2messages',
    'FailMessage',
    structure('FailMessageRequest', {
      MessageId: required(messageId()),
      FailureType: required(oneOf('InternalHandlerException', 'NoHandlerExists')),
    }),
    empty('FailMessageResult'),
    ec2messagesErrors,
  ),
  DeleteMessage: declareOperation(
    'ec2messages',
    'DeleteMessage',
    structure('DeleteMessageRequest', { MessageId: required(messageId()) }),
    empty('DeleteMessageResult'),
    ec2messagesErrors,
  ),
  GetEndpoint: declareOperation(
    'ec2messages',
    'GetEndpoint',
    structure('GetEndpointRequest', { Destination: required(instanceId()) }),
    structure('GetEndpointResult', { Endpoint: string() }),
    ec2messagesErrors,
  ),
} as const

/** Errors that agents know by name and the published model of ssm lacks. */
export const agentSsmErrors = [
  'ActivationExpired',
  'InstanceAlreadyRegistered',
  'InvalidPublicKey',
  'MachineFingerprintDoesNotMatch',
  'RegistrationLimitExceeded',
] as const

export { ec2messagesErrors }
