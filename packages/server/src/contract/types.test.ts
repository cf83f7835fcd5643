import { describe, expectTypeOf, it } from 'vitest'
import type {
  ErrorName,
  Input,
  OperationName,
  OperationTable,
  Output,
  SsmErrorName,
  SsmOperationName,
} from './types.ts'

describe('the contract as types', () => {
  it('gives a handler its required members without undefined', () => {
    expectTypeOf<Input<'PutParameter'>['Name']>().toEqualTypeOf<string>()
    expectTypeOf<Input<'PutParameter'>['Description']>().toEqualTypeOf<string | undefined>()
    expectTypeOf<Input<'SendCommand'>['Targets']>().toEqualTypeOf<{ Key?: string; Values?: string[] }[] | undefined>()
    expectTypeOf<NonNullable<Input<'AddTagsToResource'>['Tags']>[number]['Key']>().toEqualTypeOf<string>()
  })

  it('gives timestamps as Date at any depth and leaves out $metadata', () => {
    expectTypeOf<NonNullable<Output<'GetParameter'>['Parameter']>['LastModifiedDate']>().toEqualTypeOf<
      Date | undefined
    >()
    expectTypeOf<'$metadata' extends keyof Output<'GetParameter'> ? true : false>().toEqualTypeOf<false>()
  })

  it('types what only agents call', () => {
    expectTypeOf<Input<'UpdateInstanceInformation'>['InstanceId']>().toEqualTypeOf<string>()
    expectTypeOf<Input<'UpdateInstanceInformation'>['PlatformType']>().toEqualTypeOf<
      'Linux' | 'Windows' | 'MacOS' | undefined
    >()
    expectTypeOf<Output<'RequestManagedInstanceRoleToken'>['TokenExpirationDate']>().toEqualTypeOf<Date>()
    expectTypeOf<Input<'SendReply', 'ec2messages'>['Payload']>().toEqualTypeOf<string>()
    expectTypeOf<
      NonNullable<Output<'GetMessages', 'ec2messages'>['Messages']>[number]['Topic']
    >().toEqualTypeOf<string>()
  })

  it('knows the names of operations and errors', () => {
    expectTypeOf<'SendCommand' extends SsmOperationName ? true : false>().toEqualTypeOf<true>()
    expectTypeOf<'Send' extends OperationName ? true : false>().toEqualTypeOf<false>()
    expectTypeOf<'ParameterNotFound' extends SsmErrorName ? true : false>().toEqualTypeOf<true>()
    expectTypeOf<'SSMServiceException' extends SsmErrorName ? true : false>().toEqualTypeOf<false>()
    expectTypeOf<string extends ErrorName ? true : false>().toEqualTypeOf<false>()
    expectTypeOf<
      'AcknowledgeMessage' extends keyof NonNullable<OperationTable['ec2messages']> ? true : false
    >().toEqualTypeOf<true>()
  })
})
