// The source that runs in every isolate before any skill code: the parts of guest/, in this order, in one closure.
import { readFileSync } from 'node:fs'

const PARTS = [
  'kit',
  'language',
  'report',
  'calls',
  'timers',
  'abort',
  'encoding',
  'url',
  'clone',
  'crypto',
  'headers',
  'fetch',
  'capabilities',
  'trampoline'
]

export const PRELUDE_NAME = 'agentos:guest'

/** What the guest hands back, by index. */
export const Export = { bind: 0, invoke: 1, deliver: 2, fire: 3, abort: 4, world: 5 } as const

const HEAD = '(kit) => {'

// A function in parentheses is compiled at once, and only so does it get into the code cache: an isolate starts in 0.6x
// of the time that it takes to compile each part at its first call.
function eager(part: string): string {
  const source = readFileSync(new URL(`./guest/${part}.js`, import.meta.url), 'utf8')
  return `;(function (kit) {${source.slice(source.indexOf(HEAD) + HEAD.length).trimEnd()})(kit)`
}

/** An expression: `(post, ask) => exports`. `post(kind, n, text)` and `ask(what, ...texts)` are the only ways out. */
export const PRELUDE = [
  // Strict from the outside: the formatter takes the directive for redundant in a file that it reads as a module.
  "'use strict';(function (post, ask) { const kit = { __proto__: null, post, ask }",
  ...PARTS.map(eager),
  'return kit.exports })'
].join('\n')
