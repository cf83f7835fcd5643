import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Counts, commandState, concurrencyOf, elapsed, errorsAllowed } from './rules.ts'

const counts = (final: Record<string, number>, open: Partial<Counts> = {}): Counts => ({
  total: Object.values(final).reduce((sum, count) => sum + count, (open.waiting ?? 0) + (open.underWay ?? 0)),
  waiting: 0,
  underWay: 0,
  delayed: 0,
  final,
  ...open,
})

describe('MaxConcurrency', () => {
  it.each([
    ['50', 10, 10],
    ['3', 10, 3],
    ['10%', 10, 1],
    ['34%', 3, 2],
    ['1%', 3, 1],
    ['99%', 100, 99],
    ['100%', 7, 7],
    ['1', 0, 1],
    ['100%', 0, 1],
  ])('%s of %i targets is %i at a time', (text, targets, expected) => {
    expect(concurrencyOf(text, targets)).toBe(expected)
  })
})

describe('MaxErrors', () => {
  it.each([
    ['0', 50, 0],
    ['0%', 50, 0],
    ['7', 3, 7],
    ['10%', 50, 5], // AWS: the sixth error stops it
    ['10%', 9, 0],
    ['34%', 3, 1],
    ['99%', 3, 2],
    ['100%', 3, 3],
  ])('%s of %i targets allows %i errors', (text, targets, expected) => {
    expect(errorsAllowed(text, targets)).toBe(expected)
  })
})

describe('the status of a command', () => {
  const of = (given: Counts, allowed = 0, cancelled = false) => {
    const { status, statusDetails } = commandState(given, allowed, cancelled, true)
    return [status, statusDetails]
  }

  it.each<[string, Counts, number, string[]]>([
    ['all succeed', counts({ Success: 3 }), 0, ['Success', 'Success']],
    ['one cannot be reached, the others succeed', counts({ Success: 1, Undeliverable: 4 }), 0, ['Success', 'Success']],
    ['none can be reached', counts({ Undeliverable: 2 }), 0, ['Failed', 'Failed']],
    ['there are none', counts({}), 0, ['Failed', 'NoInstancesInTag']],
    ['one fails too many', counts({ Success: 2, Failed: 1 }), 0, ['Failed', 'Failed']],
    ['no more fail than may', counts({ Success: 2, Failed: 1 }), 1, ['Failed', 'Incomplete']],
    ['all that fail ran out of time', counts({ ExecutionTimedOut: 1 }), 0, ['TimedOut', 'ExecutionTimedOut']],
    ['nobody took it in time', counts({ DeliveryTimedOut: 2 }), 0, ['TimedOut', 'DeliveryTimedOut']],
    ['one did not take it in time', counts({ DeliveryTimedOut: 1, Success: 1 }), 0, ['Failed', 'Incomplete']],
    ['the caller may use none of them', counts({ AccessDenied: 2 }), 0, ['Failed', 'AccessDenied']],
    ['errors that do not count are no errors', counts({ InvalidPlatform: 1, Success: 1 }), 0, ['Failed', 'Incomplete']],
    ['each was cancelled', counts({ Cancelled: 2 }), 0, ['Cancelled', 'Cancelled']],
    ['one still runs', counts({ Success: 1 }, { underWay: 1 }), 0, ['InProgress', 'InProgress']],
    ['those that are open are late', counts({}, { underWay: 2, delayed: 2 }), 0, ['InProgress', 'Delayed']],
  ])('%s', (_what, given, allowed, expected) => {
    expect(of(given, allowed)).toEqual(expected)
  })

  it('is final when its last invocation is, and never before', () => {
    const details = [
      ...['Success', 'Failed', 'ExecutionTimedOut', 'DeliveryTimedOut', 'Undeliverable', 'Terminated'],
      ...['InvalidPlatform', 'AccessDenied', 'Cancelled'],
    ]
    const few = fc.nat({ max: 3 })
    const given = fc.record({
      final: fc.dictionary(fc.constantFrom(...details), few),
      waiting: few,
      underWay: few,
      allowed: few,
      cancelled: fc.boolean(),
      sentAny: fc.boolean(),
    })
    fc.assert(
      fc.property(given, ({ final, waiting, underWay, allowed, cancelled, sentAny }) => {
        const all = counts(final, { waiting, underWay })
        const { status } = commandState(all, allowed, cancelled, sentAny)
        const isOpen = ['Pending', 'InProgress', 'Cancelling'].includes(status)
        expect(isOpen).toBe(waiting + underWay > 0)
        const [good, unreached] = [final.Success ?? 0, final.Undeliverable ?? 0]
        if (!isOpen) expect(status === 'Success').toBe(good > 0 && good + unreached === all.total)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is Cancelling until the last has ended, and then Cancelled where anything was', () => {
    expect(of(counts({ Cancelled: 1 }, { underWay: 1 }), 0, true)).toEqual(['Cancelling', 'Cancelling'])
    expect(of(counts({ Cancelled: 1, Success: 1 }), 0, true)).toEqual(['Cancelled', 'Cancelled'])
    expect(of(counts({ Success: 2 }), 0, true)).toEqual(['Success', 'Success']) // it came too late
  })
})

describe('the time that a step took', () => {
  it.each([
    ['2020-02-19T18:18:03.419Z', '2020-02-19T18:18:03.510Z', 'PT0.091S'],
    ['2020-02-19T18:18:03.000Z', '2020-02-19T18:18:03.000Z', 'PT0S'],
    ['2020-02-19T18:00:00.000Z', '2020-02-19T19:01:02.500Z', 'PT1H1M2.5S'],
    ['2020-02-19T18:00:00.000Z', '2020-02-19T18:02:00.000Z', 'PT2M'],
    ['2020-02-19T18:00:00.000Z', 'never', ''],
  ])('from %s to %s is %s', (from, to, expected) => {
    expect(elapsed(from, to)).toBe(expected)
  })
})
