/**
 * allowedPattern: RE2 syntax, matched in time linear in the value.
 * Patterns come from whoever may create a document and values from whoever may send a command; JavaScript's own engine
 * backtracks, and `(a+)+$` over 40 characters would stop the whole server. This one walks all alternatives at once
 * (Thompson's construction), so it has no back-references and no look-around, which RE2 and therefore agents refuse too.
 */
import { invalidContent } from './error.ts'

export interface Pattern {
  /** True when the pattern matches somewhere in the text, as agents check it. */
  finds(text: string): boolean
  /** True when the pattern matches the whole text, as the service checks it. */
  matches(text: string): boolean
}

/** Instructions after counted repetitions are written out; bounds the work per character. RE2 has such a limit too. */
const MAX_INSTRUCTIONS = 2_500
/** RE2's limit on `{n}`. */
const MAX_REPEAT = 1_000
/** Nested groups; the parser recurses. */
const MAX_GROUP_DEPTH = 100

/** A compiled pattern; InvalidDocumentContent when it is not RE2 or too large. */
export function compilePattern(source: string): Pattern {
  const program = new Program()
  emit(new Parser(source).parse(), program)
  program.push({ op: 'match' })
  return {
    finds: (text) => run(program.code, text, false),
    matches: (text) => run(program.code, text, true),
  }
}

// ---- the tree

type CharacterTest = (codePoint: number) => boolean
type Assertion = 'textStart' | 'textEnd' | 'lineStart' | 'lineEnd' | 'wordEdge' | 'noWordEdge'
type Node =
  | { kind: 'character'; test: CharacterTest }
  | { kind: 'assertion'; what: Assertion }
  | { kind: 'sequence'; nodes: Node[] }
  | { kind: 'choice'; nodes: Node[] }
  | { kind: 'repeat'; node: Node; least: number; most: number }

interface Flags {
  readonly i: boolean
  readonly m: boolean
  readonly s: boolean
}

class Parser {
  private readonly characters: string[]
  private at = 0
  private depth = 0
  private flags: Flags = { i: false, m: false, s: false }

  constructor(source: string) {
    this.characters = [...source]
  }

  parse(): Node {
    const node = this.choice()
    if (this.at < this.characters.length) throw invalid('unexpected )')
    return node
  }

  private peek(): string | undefined {
    return this.characters[this.at]
  }

  private take(): string {
    const character = this.characters[this.at]
    if (character === undefined) throw invalid('unexpected end')
    this.at += 1
    return character
  }

  private eat(text: string): boolean {
    const here = this.characters.slice(this.at, this.at + text.length).join('')
    if (here !== text) return false
    this.at += text.length
    return true
  }

  private until(end: string): string {
    let text = ''
    while (!this.eat(end)) text += this.take()
    return text
  }

  private choice(): Node {
    this.depth += 1
    if (this.depth > MAX_GROUP_DEPTH) throw invalid('nested too deeply')
    const nodes = [this.sequence()]
    while (this.eat('|')) nodes.push(this.sequence())
    this.depth -= 1
    return nodes.length === 1 && nodes[0] ? nodes[0] : { kind: 'choice', nodes }
  }

  private sequence(): Node {
    const nodes: Node[] = []
    while (this.peek() !== undefined && this.peek() !== '|' && this.peek() !== ')') {
      const node = this.atom()
      if (node) nodes.push(this.repeated(node))
    }
    return { kind: 'sequence', nodes }
  }

  private repeated(node: Node): Node {
    const bounds = this.bounds()
    if (!bounds) return node
    this.eat('?') // lazy or not makes no difference to whether it matches
    if (this.bounds()) throw invalid('repeated repetition')
    return { kind: 'repeat', node, ...bounds }
  }

  private bounds(): { least: number; most: number } | undefined {
    if (this.eat('*')) return { least: 0, most: Number.POSITIVE_INFINITY }
    if (this.eat('+')) return { least: 1, most: Number.POSITIVE_INFINITY }
    if (this.eat('?')) return { least: 0, most: 1 }
    const count = /^\{([0-9]{1,4})(?:(,)([0-9]{1,4})?)?\}/.exec(this.characters.slice(this.at, this.at + 11).join(''))
    if (!count) return undefined // RE2 reads any other brace as itself
    this.at += count[0].length
    const least = Number(count[1])
    const most = count[2] === undefined ? least : count[3] === undefined ? Number.POSITIVE_INFINITY : Number(count[3])
    if (least > MAX_REPEAT || (Number.isFinite(most) && (most > MAX_REPEAT || most < least)))
      throw invalid('repeat count')
    return { least, most }
  }

  private atom(): Node | undefined {
    const character = this.take()
    const { i, m, s } = this.flags
    switch (character) {
      case '(':
        return this.group()
      case '[':
        return { kind: 'character', test: this.characterClass() }
      case '.':
        return { kind: 'character', test: s ? () => true : (codePoint) => codePoint !== 10 }
      case '^':
        return { kind: 'assertion', what: m ? 'lineStart' : 'textStart' }
      case '$':
        return { kind: 'assertion', what: m ? 'lineEnd' : 'textEnd' }
      case '*':
      case '+':
      case '?':
        throw invalid('nothing to repeat')
      case '\\':
        return this.escape()
      default:
        return literal(character, i)
    }
  }

  private group(): Node | undefined {
    const outer = this.flags
    if (this.eat('?')) {
      if (this.eat('P<') || (this.characters[this.at] === '<' && this.eat('<'))) {
        if (!/^[A-Za-z0-9_]+$/.test(this.until('>'))) throw invalid('group name')
      } else if (this.setFlags() === ')') {
        return undefined // (?i): until the enclosing group ends
      }
    }
    const node = this.choice()
    if (!this.eat(')')) throw invalid('missing )')
    this.flags = outer
    return node
  }

  /** Reads `i`, `m-s` and so on up to the `:` or `)` that ends them. */
  private setFlags(): ':' | ')' {
    const flags: { -readonly [name in keyof Flags]: boolean } = { ...this.flags }
    let on = true
    for (;;) {
      const character = this.take()
      if (character === ':' || character === ')') {
        this.flags = flags
        return character
      }
      if (character === '-') on = false
      else if (character === 'i' || character === 'm' || character === 's') flags[character] = on
      else if (character !== 'U') throw invalid('look-around and unknown flags are not supported')
    }
  }

  private escape(): Node {
    const character = this.take()
    switch (character) {
      case 'A':
        return { kind: 'assertion', what: 'textStart' }
      case 'z':
        return { kind: 'assertion', what: 'textEnd' }
      case 'b':
        return { kind: 'assertion', what: 'wordEdge' }
      case 'B':
        return { kind: 'assertion', what: 'noWordEdge' }
      case 'Q': {
        const end = this.characters.join('').includes('\\E')
          ? this.until('\\E')
          : this.characters.splice(this.at).join('')
        return { kind: 'sequence', nodes: [...end].map((each) => literal(each, this.flags.i)) }
      }
      default: {
        const known = this.escapedClass(character)
        if (known) return { kind: 'character', test: known }
        return literal(String.fromCodePoint(this.escapedCharacter(character)), this.flags.i)
      }
    }
  }

  /** `\d`, `\pL`, `\p{Greek}` and their negations. */
  private escapedClass(character: string): CharacterTest | undefined {
    const perl = PERL_CLASSES.get(character.toLowerCase())
    if (perl) return character === character.toLowerCase() ? perl : not(perl)
    if (character !== 'p' && character !== 'P') return undefined
    let name = this.eat('{') ? this.until('}') : this.take()
    const negated = name.startsWith('^') !== (character === 'P')
    name = name.replace('^', '')
    try {
      const expression = new RegExp(name.length <= 2 ? `\\p{${name}}` : `\\p{Script=${name}}`, 'u')
      const test: CharacterTest = (codePoint) => expression.test(String.fromCodePoint(codePoint))
      return negated ? not(test) : test
    } catch {
      throw invalid('character class')
    }
  }

  private escapedCharacter(character: string): number {
    const control = CONTROLS.get(character)
    if (control !== undefined) return control
    if (character === 'x') {
      const digits = this.eat('{') ? this.until('}') : this.take() + this.take()
      const codePoint = /^[0-9A-Fa-f]{1,6}$/.test(digits) ? Number.parseInt(digits, 16) : Number.NaN
      if (codePoint <= 0x10ffff) return codePoint
    } else if (character === '0') return 0
    else if (!/^[A-Za-z0-9]$/.test(character)) return character.codePointAt(0) ?? 0
    throw invalid(`escape \\${character}`)
  }

  private characterClass(): CharacterTest {
    const negated = this.eat('^')
    const tests: CharacterTest[] = []
    for (let first = true; first || !this.eat(']'); first = false) {
      if (this.eat('[:')) {
        const inverse = this.eat('^')
        const posix = POSIX_CLASSES.get(this.until(':]'))
        if (!posix) throw invalid('character class')
        tests.push(inverse ? not(posix) : posix)
        continue
      }
      const from = this.classMember()
      if (typeof from === 'function') {
        tests.push(from)
        continue
      }
      let to = from
      if (this.peek() === '-' && this.characters[this.at + 1] !== ']') {
        this.take()
        const end = this.classMember()
        if (typeof end === 'function' || end < from) throw invalid('character range')
        to = end
      }
      tests.push(range(from, to, this.flags.i))
    }
    const any: CharacterTest = (codePoint) => tests.some((test) => test(codePoint))
    return negated ? not(any) : any
  }

  private classMember(): number | CharacterTest {
    const character = this.take()
    if (character !== '\\') return character.codePointAt(0) ?? 0
    const escaped = this.take()
    return this.escapedClass(escaped) ?? this.escapedCharacter(escaped)
  }
}

function invalid(why: string) {
  return invalidContent(`Invalid value for "allowedPattern" in parameter definition: ${why}.`)
}

const not =
  (test: CharacterTest): CharacterTest =>
  (codePoint) =>
    !test(codePoint)

function literal(character: string, ignoreCase: boolean): Node {
  const codePoint = character.codePointAt(0) ?? 0
  return { kind: 'character', test: range(codePoint, codePoint, ignoreCase) }
}

function range(from: number, to: number, ignoreCase: boolean): CharacterTest {
  const within: CharacterTest = (codePoint) => codePoint >= from && codePoint <= to
  if (!ignoreCase) return within
  return (codePoint) => {
    const character = String.fromCodePoint(codePoint)
    return (
      within(codePoint) ||
      within(character.toLowerCase().codePointAt(0) ?? 0) ||
      within(character.toUpperCase().codePointAt(0) ?? 0)
    )
  }
}

const ascii =
  (expression: RegExp): CharacterTest =>
  (codePoint) =>
    codePoint < 128 && expression.test(String.fromCharCode(codePoint))

const isWord = ascii(/\w/)
const PERL_CLASSES = new Map<string, CharacterTest>([
  ['d', ascii(/\d/)],
  ['w', isWord],
  ['s', ascii(/[\t\n\f\r ]/)],
])
const CONTROLS = new Map([
  ['t', 9],
  ['n', 10],
  ['v', 11],
  ['f', 12],
  ['r', 13],
  ['a', 7],
])
const POSIX_CLASSES = new Map<string, CharacterTest>([
  ['alnum', ascii(/[0-9A-Za-z]/)],
  ['alpha', ascii(/[A-Za-z]/)],
  ['ascii', (codePoint) => codePoint < 128],
  ['blank', ascii(/[\t ]/)],
  ['cntrl', (codePoint) => codePoint < 32 || codePoint === 127],
  ['digit', ascii(/[0-9]/)],
  ['graph', ascii(/[!-~]/)],
  ['lower', ascii(/[a-z]/)],
  ['print', ascii(/[ -~]/)],
  ['punct', ascii(/[!-/:-@[-`{-~]/)],
  ['space', ascii(/[\t\n\v\f\r ]/)],
  ['upper', ascii(/[A-Z]/)],
  ['word', isWord],
  ['xdigit', ascii(/[0-9A-Fa-f]/)],
])

// ---- the program

type Instruction =
  | { op: 'character'; test: CharacterTest }
  | { op: 'assertion'; what: Assertion }
  | { op: 'split'; to: number; or: number }
  | { op: 'jump'; to: number }
  | { op: 'match' }

class Program {
  readonly code: Instruction[] = []

  push<T extends Instruction>(instruction: T): T {
    if (this.code.length >= MAX_INSTRUCTIONS) throw invalid('too large')
    this.code.push(instruction)
    return instruction
  }

  get next(): number {
    return this.code.length
  }
}

function emit(node: Node, program: Program): void {
  switch (node.kind) {
    case 'character':
      program.push({ op: 'character', test: node.test })
      return
    case 'assertion':
      program.push({ op: 'assertion', what: node.what })
      return
    case 'sequence':
      for (const each of node.nodes) emit(each, program)
      return
    case 'choice': {
      const ends: { to: number }[] = []
      node.nodes.forEach((each, index) => {
        const last = index === node.nodes.length - 1
        const split = last ? undefined : program.push({ op: 'split', to: program.next + 1, or: 0 })
        emit(each, program)
        if (!split) return
        ends.push(program.push({ op: 'jump', to: 0 }))
        split.or = program.next
      })
      for (const end of ends) end.to = program.next
      return
    }
    case 'repeat': {
      for (let count = 0; count < node.least; count += 1) emitOnce(node.node, program)
      if (Number.isFinite(node.most)) {
        const splits: { or: number }[] = []
        for (let count = node.least; count < node.most; count += 1) {
          splits.push(program.push({ op: 'split', to: program.next + 1, or: 0 }))
          emit(node.node, program)
        }
        for (const split of splits) split.or = program.next
        return
      }
      const start = program.next
      const split = program.push({ op: 'split', to: start + 1, or: 0 })
      emit(node.node, program)
      program.push({ op: 'jump', to: start })
      split.or = program.next
    }
  }
}

/** An empty group emits nothing; a counted repetition of it must still spend from the limit, or it would loop for long. */
function emitOnce(node: Node, program: Program): void {
  const before = program.next
  emit(node, program)
  if (program.next === before) program.push({ op: 'jump', to: before + 1 })
}

/** All threads advance together over the text; each instruction is entered at most once per position. */
function run(code: readonly Instruction[], text: string, whole: boolean): boolean {
  const codePoints = Array.from(text, (character) => character.codePointAt(0) ?? 0)
  const enteredAt = new Int32Array(code.length).fill(-1)
  let current: number[] = []
  let matched = false

  const enter = (start: number, position: number, threads: number[]) => {
    const pending = [start]
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (enteredAt[at] === position) continue
      enteredAt[at] = position
      const instruction = code[at]
      if (!instruction) continue
      if (instruction.op === 'match') matched ||= !whole || position === codePoints.length
      else if (instruction.op === 'character') threads.push(at)
      else if (instruction.op === 'jump') pending.push(instruction.to)
      else if (instruction.op === 'split') pending.push(instruction.or, instruction.to)
      else if (holds(instruction.what, codePoints, position)) pending.push(at + 1)
    }
  }

  enter(0, 0, current)
  for (let position = 0; position < codePoints.length && !matched; position += 1) {
    const next: number[] = []
    const codePoint = codePoints[position] ?? 0
    for (const at of current) {
      const instruction = code[at]
      if (instruction?.op === 'character' && instruction.test(codePoint)) enter(at + 1, position + 1, next)
    }
    if (!whole) enter(0, position + 1, next)
    current = next
    if (whole && current.length === 0 && !matched) return false
  }
  return matched
}

function holds(what: Assertion, text: readonly number[], position: number): boolean {
  const before = text[position - 1]
  const after = text[position]
  switch (what) {
    case 'textStart':
      return before === undefined
    case 'textEnd':
      return after === undefined
    case 'lineStart':
      return before === undefined || before === 10
    case 'lineEnd':
      return after === undefined || after === 10
    default: {
      const edge = (before !== undefined && isWord(before)) !== (after !== undefined && isWord(after))
      return edge === (what === 'wordEdge')
    }
  }
}
