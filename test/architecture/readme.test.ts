import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import type { Room } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'
import { type RoomFacts, readmeProblems } from './readme.ts'

const root = new URL('../../', import.meta.url)

// Rooms of the kernel live in core, two of them under the name of their part.
const parts: Record<string, string> = { system: 'core/http', gateway: 'core/ws' }

function folderOf(name: string): string {
  const found = [`plugins/${name}`, `core/${name}`, `skills-registry/${name}`, name, parts[name] ?? ''].find(
    (dir) => dir !== '' && existsSync(new URL(`${dir}/`, root))
  )
  if (found === undefined) throw new Error(`room "${name}" has no folder`)
  return found
}

function problemsOf(facts: RoomFacts): string[] {
  const readme = new URL(`${folderOf(facts.name)}/README.md`, root)
  if (!existsSync(readme)) return [`room "${facts.name}" has no README.md`]
  return readmeProblems(readFileSync(readme, 'utf8'), facts)
}

function factsOf(room: Room): RoomFacts {
  return {
    name: room.name,
    tables: room.tables ?? [],
    emits: (room.emits ?? []).map((event) => event.type),
    consumes: (room.consumes ?? []).map((event) => event.type),
    decorators: room.decorators ?? []
  }
}

t.test("the READMEs of the kernel's rooms say what their manifests and routes say", async (t) => {
  const { app } = await testApp(t)
  t.strictSame(app.rooms().flatMap(problemsOf), [])
})

t.test('the READMEs of the configured rooms say what their manifests say', async (t) => {
  const { seats } = await import('#config/plugins.ts')
  const rooms = seats({ home: t.testdir(), sandboxRequire: 'best' }).map(({ room }) => factsOf(room))
  t.ok(rooms.length > 0)
  t.strictSame(rooms.flatMap(problemsOf), [])
})

t.test('a README that says too little or too much is found', async (t) => {
  const facts: RoomFacts = {
    name: 'shapes',
    tables: ['shapes.shape'],
    emits: ['shape.drawn'],
    consumes: ['session.completed'],
    decorators: ['shapes'],
    routes: [{ method: 'GET', url: '/v1/shapes/:id' }]
  }
  const good = `# shapes
| kind | names |
| --- | --- |
| tables | \`shapes.shape\` |
| routes | \`GET /v1/shapes/:id\` (\`ignored\` is not) |
| events out | \`shape.drawn\` |
| events in | \`session.completed\` |
| decorators | \`app.shapes\` |`
  t.strictSame(readmeProblems(good.replace(' (`ignored` is not)', ''), facts), [])
  t.match(readmeProblems(good, facts), [/names routes that the room has not: ignored/])
  t.match(readmeProblems(good.replaceAll('shapes.shape`', 'shapes.form`').replace(' (`ignored` is not)', ''), facts), [
    'README of "shapes" does not name tables: shapes.shape',
    'README of "shapes" names tables that the room has not: shapes.form'
  ])
  t.equal(readmeProblems('# shapes', facts).length, 4)
})
