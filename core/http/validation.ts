import type { FastifySchemaCompiler } from 'fastify'
import { z } from 'zod'
import { type $ZodError, type $ZodIssue, type $ZodType, safeParse } from 'zod/v4/core'
import { type FieldError, NotFound, RequestInvalid } from '#core/errors.ts'
import { escapePointer, findUnstorable } from '#core/json.ts'

/**
 * Where and why a value does not fit its zod schema: one entry per issue, unknown keys by name, pointers by RFC 6901.
 * @param prefix pointer of the value inside what the client sent, e.g. `/params`
 */
export function fieldErrors(error: Pick<$ZodError, 'issues'>, prefix = ''): FieldError[] {
  return error.issues.flatMap((issue) => ofIssue(issue, prefix)).slice(0, 50)
}

function ofIssue(issue: $ZodIssue, prefix: string): FieldError[] {
  const pointer = prefix + issue.path.map((key) => `/${escapePointer(key)}`).join('')
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({ pointer: `${pointer}/${escapePointer(key)}`, detail: `unknown key "${key}"` }))
    case 'invalid_union': {
      const branch = closest(issue.errors)
      return branch ? branch.flatMap((inner) => ofIssue(inner, pointer)) : [{ pointer, detail: issue.message }]
    }
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues.flatMap((inner) => ofIssue(inner, pointer))
    case 'invalid_type':
      return [{ pointer, detail: issue.message.endsWith('received undefined') ? missing(issue) : issue.message }]
    default:
      return [{ pointer, detail: issue.message }]
  }
}

function missing(issue: { expected: string }): string {
  return `required (${issue.expected})`
}

// Of a union's branches the one that went deepest before it failed: that is the one the client meant.
function closest(branches: readonly (readonly $ZodIssue[])[]): readonly $ZodIssue[] | undefined {
  const depth = (issues: readonly $ZodIssue[]) => Math.max(0, ...issues.map((issue) => issue.path.length))
  return [...branches].sort((a, b) => depth(b) - depth(a) || a.length - b.length)[0]
}

/**
 * Text that Postgres cannot keep (U+0000, lone surrogates) is refused at the door: behind it each column and each
 * comparison would answer with an error of its own.
 * @param place `query` or `path`; nothing for a body
 * @param prefix pointer of the value inside what the client sent
 * @throws RequestInvalid
 */
export function refuseUnstorable(value: unknown, place?: string, prefix = ''): void {
  const fault = findUnstorable(value)
  if (!fault) return
  throw new RequestInvalid([{ ...(place ? { in: place } : {}), ...fault, pointer: prefix + fault.pointer }])
}

const parts: Record<string, string> = { querystring: 'query', params: 'path', headers: 'header' }

/** `params` of routes about one thing. */
export const IdParams = z.object({ id: z.guid() })

/** Fastify's validator for zod schemas; errors outside the body say `in: query | header`; a path that does not fit is 404. */
export const validatorCompiler: FastifySchemaCompiler<$ZodType> = ({ schema, httpPart }) => {
  const place = parts[httpPart ?? '']
  return (data: unknown) => {
    const result = safeParse(schema, data)
    if (result.success) return { value: result.data }
    // A path that cannot name anything names nothing: the same answer as for an id that is not there.
    if (place === 'path') return { error: new NotFound('the resource of this path') }
    const errors = fieldErrors(result.error)
    return { error: new RequestInvalid(place ? errors.map((error) => ({ in: place, ...error })) : errors) }
  }
}
