/**
 * Kinds of credentials that AWS has and this installation never: SSH keys of CodeCommit, X.509 certificates, passwords of
 * single services, SAML providers. Nobody can make one, and who asks is told that there is none: Terraform asks for them all
 * before it deletes a user, and audits ask for what an account has.
 */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { found } from '../entities.ts'
import { anywhere, onUserOrSelf, userOrSelf } from '../permissions.ts'

/** NoSuchEntity: no such user. */
async function checkUser(context: Context, asked: string | undefined): Promise<void> {
  const name = userOrSelf(context, asked)
  if (name !== undefined) await found(context, 'user', name)
}

export const otherCredentials: ServiceOperations<'iam'> = {
  ListSSHPublicKeys: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      await checkUser(context, input.UserName)
      return { SSHPublicKeys: [], IsTruncated: false }
    },
  },
  ListSigningCertificates: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      await checkUser(context, input.UserName)
      return { Certificates: [], IsTruncated: false }
    },
  },
  ListServiceSpecificCredentials: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      await checkUser(context, input.UserName)
      return { ServiceSpecificCredentials: [], IsTruncated: false }
    },
  },
  ListServerCertificates: {
    authorize: anywhere,
    handle: async () => ({ ServerCertificateMetadataList: [], IsTruncated: false }),
  },
  ListSAMLProviders: { authorize: anywhere, handle: async () => ({ SAMLProviderList: [] }) },
}
