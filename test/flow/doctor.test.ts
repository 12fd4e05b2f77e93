import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { runNode } from '#test/support/run-node.ts'
import { openHome } from '#test/support/server-home.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Where the lines of a family are seen red, each by its own name. A line of no family here is a mistake. */
const provenBy: Readonly<Record<string, string | string[]>> = {
  audit: 'core/audit/test/doctor.test.ts',
  hmac: 'core/db/test/doctor.test.ts',
  log: 'core/doctor/test/scrubber.test.ts',
  objects: 'core/objects/test/doctor.test.ts',
  policies: 'core/db/test/doctor.test.ts',
  postgres: 'core/db/test/doctor.test.ts',
  redis: 'core/redis/test/doctor.test.ts',
  rls: 'core/db/test/doctor.test.ts',
  roles: 'core/db/test/doctor.test.ts',
  rows: 'core/db/test/doctor.test.ts',
  sandbox: ['skills-registry/tools/test/doctor.test.ts', 'skills-registry/tools/test/doctor-sandbox.test.ts'],
  tenants: 'core/tenants/test/doctor.test.ts',
  vault: 'core/vault/test/doctor.test.ts'
}

/** How a test says that the line of this name is red. `turns` and `broken` are helpers that assert it. */
function seenRed(name: string): RegExp {
  const line = `'${name.replaceAll('.', '\\.')}'`
  return new RegExp(
    [
      `line\\(${line}[^\\n]*\\{\\s*ok: false`,
      `name: ${line}, ok: false`,
      `${line}: \\[false`,
      `(turns|broken)\\(\\s*t,\\s*${line}`,
      `const name = ${line}\\n[^\\n]*\\n\\s*(const [^\\n]*\\n\\s*)?await broken\\(\\s*t,\\s*name`
    ].join('|')
  )
}

interface Line {
  name: string
  title: string
  ok: boolean | 'unknown'
  detail: string
}

t.test('an operator asks a running server whether its tenants are apart', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'agentos-doctor-'))
  t.teardown(() => rm(home, { recursive: true, force: true, maxRetries: 20 }))
  const server = runNode(t, 'config/main.ts', [], { AGENTOS_HOME: home, PORT: '0' })
  const [, url = ''] = await server.says(/^agentos ready on (\S+)$/m)
  await server.says(/npx node examples\/clients/)
  const { sql } = await openHome(t, home)
  const agentos = async (t: Test, ...args: string[]) => {
    const program = runNode(t, 'clients/cli/agentos.js', args, { AGENTOS_URL: url, AGENTOS_HOME: home })
    const { code } = await program.ended
    return { code, out: program.stdout(), err: program.stderr() }
  }

  let lines: Line[] = []
  await t.test('on a healthy server no line is red', async (t) => {
    const { code, out, err } = await agentos(t, 'doctor', 'tenancy')
    t.equal(err, '')
    t.notMatch(out, /^FAILED/m)
    t.match(out, /^\d+ ok, 0 failed/m)
    t.equal(code, 0, out)
    lines = JSON.parse((await agentos(t, 'doctor', 'tenancy', '--json')).out).reports[0].checks
    t.ok(lines.filter(({ ok }) => ok === true).length >= 12, lines.map(({ name }) => name).join(' '))
    for (const family of ['rls', 'vault', 'audit', 'redis', 'objects', 'sandbox', 'log']) {
      t.ok(
        lines.some(({ name }) => name.startsWith(`${family}.`)),
        family
      )
    }
    const all = JSON.parse((await agentos(t, 'doctor', '--json')).out).reports as { group: string; checks: Line[] }[]
    t.strictSame(
      all.flatMap(({ checks }) => checks.filter(({ ok }) => ok === false)),
      [],
      'nor in the other groups'
    )
    const sandbox = all.find(({ group }) => group === 'sandbox')?.checks ?? []
    t.ok(sandbox.length >= 10, 'the walls of a cell, and calls that are really made')
    lines.push(...sandbox)
  })

  await t.test('a table whose row level security is not forced any more is a red line with what to do', async (t) => {
    await sql`alter table core.api_key no force row level security`
    const broken = await agentos(t, 'doctor', 'tenancy')
    t.equal(broken.code, 1)
    const red = broken.out.split('\n').filter((line) => line.startsWith('FAILED'))
    t.match(red.join('\n'), /core\.api_key/)
    for (const line of red) t.match(line, / -> \S/)
    t.match(broken.out, new RegExp(`^\\d+ ok, ${red.length} failed`, 'm'))
    await sql`alter table core.api_key force row level security`
    t.match(await agentos(t, 'doctor', 'tenancy'), { code: 0 })
  })

  await t.test('no line tells a secret, a path of a tenant or what a tenant wrote', async (t) => {
    const text = JSON.stringify(lines)
    t.notMatch(text, /ak_live|profile the weather|csv-profile/)
    const key = (await readFile(join(home, 'owner.key'), 'utf8')).trim()
    t.notOk(text.includes(key))
  })

  await t.test('each line has a test that breaks the thing and sees it red', async (t) => {
    for (const { name } of lines) {
      const family = name.split('.', 1)[0] ?? ''
      const files = [provenBy[family] ?? 'nowhere'].flat().map((file) => join(root, file))
      const text = (await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')))).join('\n')
      t.match(text, seenRed(name), `${name}: no test in ${provenBy[family]} sees it red`)
      t.notMatch(text, seenRed(`${family}.of-nobody`), 'and none sees a line that is not there')
    }
  })
})
