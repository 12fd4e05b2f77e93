import { readFileSync } from 'node:fs'
import t from 'tap'
import '#core/app.ts'
import { errorCatalogue } from '#core/errors.ts'
import { errorsDoc, eventsDoc } from '#test/support/generate-docs.ts'

const written = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

t.test('docs/errors.md and docs/events.md are what `npm run docs` would write', async (t) => {
  t.equal(written('errors.md'), errorsDoc())
  t.equal(written('events.md'), eventsDoc())
})

t.test('every event that docs/spec/events.md promises of a room is declared with its fields', async (t) => {
  // The table lists the rooms of the whole plan; whoever is not configured yet promises nothing.
  const rows = [...written('spec/events.md').matchAll(/^\| ([a-z_.]+) \| ([^|]+) \| ([a-z-]+) \|$/gm)]
  const ours = rows.filter(([, , , room]) => ['pulse', 'skills-registry'].includes(room ?? ''))
  t.equal(ours.length, 10)
  for (const [, name = '', payload = ''] of ours) {
    const line = eventsDoc()
      .split('\n')
      .find((line) => line.startsWith(`| \`${name}\` |`))
    const fields = payload.replaceAll(/\(.*?\)/g, '').split(',')
    for (const field of fields) t.match(line, `\`${field.trim()}`, `${name} ${field}`)
  }
})

t.test('it names every error of the modules that are loaded, with its status', async (t) => {
  const doc = errorsDoc()
  t.ok(errorCatalogue().length > 20)
  for (const { code, status } of errorCatalogue()) t.ok(doc.includes(`| \`${code}\` | ${status} |`), code)
})
