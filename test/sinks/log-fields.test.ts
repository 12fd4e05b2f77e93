import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isLogField } from '#core/log-fields.ts'
import { scanSource, scanTree } from '#test/architecture/scan.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Names of the fields that a source gives to a log, with the place. */
function loggedFields({ path, code }: { path: string; code: string }): { at: string; name: string }[] {
  const calls = code.matchAll(/\blog\b\??\s*\.\s*(?:trace|debug|info|warn|error|fatal|child)\(\s*\{([^{}]*)\}/g)
  return [...calls].flatMap((call) => {
    const at = `${path}:${code.slice(0, call.index).split('\n').length}`
    const names = (call[1] ?? '').split(',').map((field) => field.split(':', 1)[0]?.trim() ?? '')
    return names.filter((name) => /^\w+$/.test(name)).map((name) => ({ at, name }))
  })
}

t.test('every field that our sources log is one that the log writes: none is lost unseen', async (t) => {
  const files = (await scanTree(root)).filter(({ path }) => !/(^|\/)(test|bench)\//.test(path))
  const fields = files.flatMap(loggedFields)
  t.ok(fields.length > 50)
  t.strictSame(
    fields.filter(({ name }) => !isLogField(name)).map(({ at, name }) => `${at} ${name}`),
    []
  )
})

t.test('a field without a name in the table is found', async (t) => {
  const source = "deps.log.warn(\n  { err: error, tenantInput: x },\n  'text'\n)\nlog?.info({ body }, 'text')"
  const found = loggedFields(scanSource('a.ts', source)).filter(({ name }) => !isLogField(name))
  t.strictSame(
    found.map(({ name }) => name),
    ['tenantInput', 'body']
  )
})
