import { type ASTNode, Environment } from '@marcbachmann/cel-js'
import { countNodes, storableText } from '#core/json.ts'
import { compileSchema, SchemaRefused } from '#core/json-schema.ts'
import type { SessionConfig } from './schema.ts'

type GateCheck = SessionConfig['gates'][number]['check']

/** What an expression sees. `output` is the session's (gates at the end) or the step's (gates after it). */
export interface GateScope {
  readonly input: unknown
  readonly steps: Readonly<Record<string, { output: unknown }>>
  readonly output: unknown
}

export type Verdict = { readonly verdict: 'passed' } | { readonly verdict: 'failed' | 'error'; readonly reason: string }

/** Expressions run on the main thread: a macro (all, exists, map, filter) looks at no more values than this. */
const MACRO_NODES = 5000
const MACROS = new Set(['all', 'exists', 'exists_one', 'map', 'filter'])
const REASON_LENGTH = 1000

const environment = new Environment({
  unlistedVariablesAreDyn: true,
  limits: { maxAstNodes: 500, maxDepth: 50, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 10 }
})

/** A gate's check that could not be used; the message says why. */
export class GateRefused extends Error {
  override readonly name = 'GateRefused'
}

/**
 * Reads a check once, at creation, so that a typing error shows there and not after an hour of work.
 * @throws GateRefused
 */
export function readCheck(check: GateCheck): void {
  if (check.kind === 'schema') readSchema(check.schema)
  else readExpression(check.expression)
}

/** Decides one gate. Never throws: what cannot be evaluated is a verdict of its own, and does not pass. */
export function judge(check: GateCheck, scope: GateScope): Verdict {
  try {
    if (check.kind === 'schema') {
      const [first] = readSchema(check.schema)(scope.output)
      if (!first) return { verdict: 'passed' }
      return { verdict: 'failed', reason: storableText(`${first.pointer || '/'} ${first.detail}`, REASON_LENGTH) }
    }
    return judgeExpression(check.expression, scope)
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? error.name) : String(error)
    return { verdict: 'error', reason: storableText(reason, REASON_LENGTH) }
  }
}

function judgeExpression(expression: string, scope: GateScope): Verdict {
  const { evaluate, macros } = readExpression(expression)
  if (macros && countNodes(scope, MACRO_NODES) > MACRO_NODES) {
    const reason = `the data has more than ${MACRO_NODES} values, too many for all, exists, map or filter; use size() or a schema gate`
    return { verdict: 'error', reason }
  }
  const value: unknown = evaluate({ ...scope })
  if (value === true) return { verdict: 'passed' }
  if (value === false) return { verdict: 'failed', reason: storableText(`${expression} is false`, REASON_LENGTH) }
  return { verdict: 'error', reason: storableText(`${expression} gives no boolean`, REASON_LENGTH) }
}

function readSchema(schema: Record<string, unknown>) {
  try {
    return compileSchema(schema)
  } catch (error) {
    if (error instanceof SchemaRefused) throw new GateRefused(error.message)
    throw error
  }
}

function readExpression(expression: string): {
  evaluate: (scope: Record<string, unknown>) => unknown
  macros: boolean
} {
  let parsed: ReturnType<typeof environment.parse>
  try {
    parsed = environment.parse(expression)
  } catch (error) {
    throw new GateRefused(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error))
  }
  const found = inspect(parsed.ast)
  // matches() runs on a backtracking engine: one pattern could hang every tenant.
  if (found.calls.has('matches'))
    throw new GateRefused('matches() is not available; use startsWith, endsWith or contains')
  if (found.macroDepth > 1) throw new GateRefused('all, exists, map and filter cannot stand inside each other')
  return { evaluate: (scope) => parsed(scope), macros: found.macroDepth > 0 }
}

function inspect(ast: ASTNode): { calls: Set<string>; macroDepth: number } {
  const calls = new Set<string>()
  let macroDepth = 0
  const visit = (node: unknown, depth: number): void => {
    if (Array.isArray(node)) {
      for (const child of node) visit(child, depth)
      return
    }
    if (typeof node !== 'object' || node === null || !('op' in node) || !('args' in node)) return
    const { op, args } = node as { op: string; args: unknown }
    let inner = depth
    if ((op === 'call' || op === 'rcall') && Array.isArray(args)) {
      calls.add(String(args[0]))
      if (MACROS.has(String(args[0]))) inner += 1
      macroDepth = Math.max(macroDepth, inner)
    }
    visit(args, inner)
  }
  visit(ast, 0)
  return { calls, macroDepth }
}
