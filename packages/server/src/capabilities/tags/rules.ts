/** What tags may be. Lengths and characters are checked with the shape of the request. */
import { AwsError, validation } from '../../platform/errors.ts'

export interface Tag {
  Key: string
  Value: string
}

/** Tags of one resource ("Tagging your resources", Systems Manager user guide). */
const MAX_TAGS = 50

/** In any case of letters; AWS keeps these for itself. */
const RESERVED_PREFIX = /^aws:/i

const checkKey = (key: string): void => {
  if (RESERVED_PREFIX.test(key)) {
    throw validation(`Invalid tag key: ${key}. Tag keys can't start with "aws:", which is reserved for AWS use.`)
  }
}

/** Reserved keys, a key given twice: ValidationException. More than 50: TooManyTagsError. */
export function checkTags(tags: readonly Tag[]): void {
  for (const { Key } of tags) checkKey(Key)
  const keys = new Set(tags.map(({ Key }) => Key))
  if (keys.size < tags.length) throw validation('Duplicate tag keys are not allowed in one request.')
  checkCount(keys.size)
}

/** The tags that a new resource is made with. ValidationException, also for too many: nothing that creates has another error. */
export function checkNewTags(tags: readonly Tag[]): void {
  if (tags.length > MAX_TAGS) throw validation(`A resource can have at most ${MAX_TAGS} tags.`)
  checkTags(tags)
}

export function checkTagKeys(keys: readonly string[]): void {
  for (const key of keys) checkKey(key)
}

/** TooManyTagsError when a resource would carry more tags than it may. */
export function checkCount(count: number): void {
  if (count > MAX_TAGS) throw new AwsError('TooManyTagsError', `A resource can have at most ${MAX_TAGS} tags.`)
}
