import { describe, expect, it } from 'vitest'
import {
  checkFormat,
  checkNewVersion,
  checkUpdatedVersion,
  isAmazonName,
  MAX_VERSIONS,
  reviewed,
  shareChange,
  sharedSelector,
  showsVersion,
} from './rules.ts'

const refused = (decide: () => unknown): string => {
  try {
    decide()
  } catch (error) {
    return error instanceof Error ? error.name : String(error)
  }
  return 'accepted'
}

describe('an update', () => {
  it('follows the latest version only, named by number or as $LATEST', () => {
    expect(() => checkUpdatedVersion('$LATEST', 3, 3)).not.toThrow()
    expect(() => checkUpdatedVersion('3', 3, 3)).not.toThrow()
    expect(refused(() => checkUpdatedVersion('2', 3, 3))).toBe('InvalidDocumentVersion')
    expect(refused(() => checkUpdatedVersion('4', 3, 3))).toBe('InvalidDocumentVersion')
    expect(refused(() => checkUpdatedVersion('$DEFAULT', 3, 3))).toBe('InvalidDocumentVersion')
  })

  it('need not name the version while there is one', () => {
    expect(() => checkUpdatedVersion(undefined, 1, 1)).not.toThrow()
    expect(refused(() => checkUpdatedVersion(undefined, 2, 2))).toBe('InvalidDocumentVersion')
  })

  const version = { version: 1, versionName: 'first', hash: 'aa', targetType: null }

  it('must bring something new: content or target type', () => {
    const fresh = { versionName: null, hash: 'aa', targetType: null }
    expect(refused(() => checkNewVersion(fresh, [version]))).toBe('DuplicateDocumentContent')
    expect(() => checkNewVersion({ ...fresh, targetType: '/' }, [version])).not.toThrow()
    expect(() => checkNewVersion({ ...fresh, hash: 'bb' }, [version])).not.toThrow()
  })

  it('cannot take the name of another version', () => {
    const fresh = { versionName: 'first', hash: 'bb', targetType: null }
    expect(refused(() => checkNewVersion(fresh, [version]))).toBe('DuplicateDocumentVersionName')
    expect(() => checkNewVersion({ ...fresh, versionName: 'First' }, [version])).not.toThrow()
  })

  it('is refused when a document has a thousand versions', () => {
    const many = Array.from({ length: MAX_VERSIONS }, (_, index) => ({
      ...version,
      version: index + 1,
      versionName: null,
    }))
    const fresh = { versionName: null, hash: 'bb', targetType: null }
    expect(refused(() => checkNewVersion(fresh, many))).toBe('DocumentVersionLimitExceeded')
    expect(() => checkNewVersion(fresh, many.slice(1))).not.toThrow()
  })
})

describe('sharing', () => {
  it('lets removal win over adding', () => {
    expect(shareChange(['111111111111', '222222222222'], ['111111111111'])).toEqual({
      add: ['222222222222'],
      remove: ['111111111111'],
    })
  })

  it('takes "all" in any case of letters, and alone', () => {
    expect(shareChange(['ALL']).add).toEqual(['all'])
    expect(refused(() => shareChange(['All', '111111111111']))).toBe('DocumentPermissionLimit')
  })

  it('shows the versions that any of the shares shows', () => {
    const document = { defaultVersion: 2, latestVersion: 3 }
    const shown = (...shares: Parameters<typeof showsVersion>[0]) =>
      [1, 2, 3].filter((version) => showsVersion(shares, document, version))
    expect(shown()).toEqual([])
    expect(shown('$DEFAULT')).toEqual([2])
    expect(shown('$LATEST')).toEqual([3])
    expect(shown('$DEFAULT', '$LATEST')).toEqual([2, 3])
    expect(shown('$ALL')).toEqual([1, 2, 3])
  })

  it('gives a consumer who names no version one that is shown', () => {
    expect(sharedSelector(['$LATEST'])).toBe('$LATEST')
    expect(sharedSelector(['$LATEST', '$DEFAULT'])).toBe('$DEFAULT')
    expect(sharedSelector(['$ALL'])).toBe('$DEFAULT')
  })
})

describe('a review', () => {
  it('is asked for, then answered, and can be asked for again after a rejection', () => {
    expect(reviewed('NOT_REVIEWED', 'SendForReview')).toBe('PENDING')
    expect(reviewed('PENDING', 'Reject')).toBe('REJECTED')
    expect(reviewed('REJECTED', 'SendForReview')).toBe('PENDING')
    expect(reviewed('PENDING', 'Approve')).toBe('APPROVED')
    expect(reviewed('APPROVED', 'UpdateReview')).toBeUndefined()
  })

  it('is refused out of its order', () => {
    for (const [status, action] of [
      ['NOT_REVIEWED', 'Approve'],
      ['NOT_REVIEWED', 'Reject'],
      ['NOT_REVIEWED', 'UpdateReview'],
      ['PENDING', 'SendForReview'],
      ['APPROVED', 'SendForReview'],
      ['REJECTED', 'Approve'],
    ] as const)
      expect(refused(() => reviewed(status, action))).toBe('InvalidDocumentOperation')
  })
})

describe('names and formats', () => {
  it('keep the names of Amazon for Amazon', () => {
    expect(['AWS-RunShellScript', 'awsx', 'AmazonThing', 'AMZN', 'AWSEC2-x'].every(isAmazonName)).toBe(true)
    expect(['SSM-SessionManagerRunShell', 'my-aws', 'aw'].some(isAmazonName)).toBe(false)
  })

  it('allow TEXT for types that are neither JSON nor YAML', () => {
    expect(refused(() => checkFormat('Command', 'TEXT'))).toBe('InvalidDocumentContent')
    expect(refused(() => checkFormat('ChangeCalendar', 'JSON'))).toBe('InvalidDocumentContent')
    expect(() => checkFormat('ChangeCalendar', 'TEXT')).not.toThrow()
    expect(() => checkFormat('Command', 'YAML')).not.toThrow()
  })
})
