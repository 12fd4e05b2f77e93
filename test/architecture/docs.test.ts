import { readFileSync } from 'node:fs'
import t from 'tap'
import '#core/app.ts'
import { errorCatalogue } from '#core/errors.ts'
import { errorsDoc } from '#test/support/generate-docs.ts'

const written = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')

t.test('docs/errors.md is what `npm run docs` would write', async (t) => {
  t.equal(written, errorsDoc())
})

t.test('it names every error of the modules that are loaded, with its status', async (t) => {
  const doc = errorsDoc()
  t.ok(errorCatalogue().length > 20)
  for (const { code, status } of errorCatalogue()) t.ok(doc.includes(`| \`${code}\` | ${status} |`), code)
})
