/** Numbers as the Numeric operators read them: whole or decimal digits with a sign, nothing looser. */

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i

/** undefined where `text` is no number. */
export const parseNumber = (text: string): number | undefined => (NUMBER.test(text) ? Number(text) : undefined)
