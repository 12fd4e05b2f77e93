import { once } from 'node:events'
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { run, type Surroundings } from '#clients/cli/program.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'
import { runNode } from '#test/support/run-node.ts'

type Env = Record<string, string>

/** What a person sees who types `agentos ...`. */
async function agentos(t: Test, args: string[], env: Env = {}) {
  const program = runNode(t, 'clients/cli/agentos.js', args, { AGENTOS_HOME: '/nowhere', ...env })
  const { code } = await program.ended
  return { code, out: program.stdout(), err: program.stderr() }
}

/** A line on stderr, and nothing else. */
const oneLine = (text: RegExp) => new RegExp(`^agentos: ${text.source}[^\\n]*\\n$`)

t.test('against a server', async (t) => {
  const { app, makeTenant, sql } = await testApp(t)
  const zero = await makeTenant({ id: TENANT_ZERO, slug: 'zero', scopes: ['*', 'platform:*'] })
  const other = await makeTenant({ slug: 'other' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const operator = { AGENTOS_URL: url, AGENTOS_TOKEN: zero.key }
  let door = true
  const title = 'the door is \u001b[2Jshut'
  app.doctor.add('shop', {
    name: 'door',
    title,
    run: () => (door ? { ok: true, detail: 'it is' } : { ok: false, detail: 'it is open', fix: 'shut it' })
  })
  app.doctor.add('shop', { name: 'till', title: 'the till is full', run: () => ({ ok: 'unknown', detail: 'no till' }) })

  await t.test('doctor prints a line for each check, and ends with 0 when none is red', async (t) => {
    const { code, out, err } = await agentos(t, ['doctor', 'shop'], operator)
    t.equal(
      out,
      'ok     the door is  [2Jshut: it is\n?      the till is full: no till\n1 ok, 0 failed, 1 with nothing to look at\n'
    )
    t.strictSame([code, err], [0, ''])
  })

  await t.test('a red line says what to do, and ends with 1', async (t) => {
    door = false
    const { code, out } = await agentos(t, ['doctor', 'shop'], operator)
    t.match(out, /^FAILED the door is .*shut: it is open -> shut it\n/)
    t.equal(code, 1)
    const json = await agentos(t, ['doctor', 'shop', '--json'], operator)
    t.match(JSON.parse(json.out), {
      ok: false,
      reports: [{ group: 'shop', checks: [{ ok: false, fix: 'shut it' }, {}] }]
    })
    t.equal(json.code, 1)
    door = true
  })

  await t.test('a group that is not there is a usage error which names those that are', async (t) => {
    const { code, err } = await agentos(t, ['doctor', 'shoop'], operator)
    t.match(err, oneLine(/this server has no group "shoop"; it has .*shop/))
    t.equal(code, 2)
  })

  await t.test("the owner's key in AGENTOS_HOME is taken for a server on this machine, and for no other", async (t) => {
    const home = t.testdir({ 'owner.key': `${zero.key}\n` })
    const { code, out } = await agentos(t, ['whoami'], { AGENTOS_HOME: home, AGENTOS_URL: url })
    t.match(
      out,
      new RegExp(`^tenant +zero \\(zero, ${TENANT_ZERO}\\)\nplan +\\w+\nkey +.*\nscopes +\\* platform:\\*\n`)
    )
    t.equal(code, 0)
    const away = await agentos(t, ['whoami'], { AGENTOS_HOME: home, AGENTOS_URL: 'https://agents.example' })
    t.match(away.err, oneLine(/no key for https:\/\/agents\.example: set AGENTOS_TOKEN/))
    t.equal(away.code, 3)
  })

  await t.test('a key that is wrong, or may not, is 3 and says which permission', async (t) => {
    const wrong = await agentos(t, ['whoami'], { ...operator, AGENTOS_TOKEN: 'nonsense' })
    t.match(wrong.err, oneLine(/http.* does not take the key of AGENTOS_TOKEN/))
    const other_ = await agentos(t, ['doctor', 'shop'], { ...operator, AGENTOS_TOKEN: other.key })
    t.match(other_.err, oneLine(/the key of AGENTOS_TOKEN lacks the permission platform:doctor/))
    t.strictSame([wrong.code, other_.code, wrong.out, other_.out], [3, 3, '', ''])
  })

  await t.test('audit list, verify and export show the log of the tenant', async (t) => {
    const made = await app.inject({
      method: 'POST',
      url: '/v1/keys',
      headers: zero.headers,
      payload: { name: 'one', scopes: ['keys:read'] }
    })
    const { id } = made.json()
    const list = await agentos(t, ['audit', 'list', '--action', 'key.*'], operator)
    t.match(list.out, new RegExp(`^AT +ACTION +SUBJECT +BY +FROM\n\\d{4}-\\S+ +key\\.created +key:${id} +key:`))
    const verified = await agentos(t, ['audit', 'verify'], operator)
    t.match(verified.out, /^ok: \d+ rows, sealed through \d+, \d+ wait for their seal\nthe export holds too: .*\n$/)
    const file = join(t.testdir(), 'audit.ndjson')
    t.match(await agentos(t, ['audit', 'export', '-o', file], operator), { code: 0, out: '', err: '' })
    t.equal((await stat(file)).mode & 0o777, 0o600)
    for (const line of (await readFile(file, 'utf8')).trim().split('\n')) t.ok(JSON.parse(line))
    t.match(await agentos(t, ['audit', 'export', '-o', file], operator), { code: 2, err: /is there already/ })
    const refused = await agentos(t, ['audit', 'list', '--limit', '999'], operator)
    t.match(refused, { code: 1, out: '', err: oneLine(/.*limit.*\(REQUEST_INVALID, request /) })
    t.ok(sql)
  })
})

t.test('help stands at every level with examples, on stdout when asked for', async (t) => {
  for (const args of [
    [],
    ['doctor'],
    ['audit'],
    ['audit', 'list'],
    ['audit', 'verify'],
    ['audit', 'export'],
    ['replay'],
    ['whoami']
  ]) {
    const { code, out, err } = await agentos(t, [...args, '--help'])
    t.match(out, /Usage: agentos[\s\S]*Examples?:\n {2}\S/, args.join(' '))
    t.strictSame([code, err], [0, ''])
  }
  const nothing = await agentos(t, [])
  t.match(nothing, { code: 2, out: '', err: /Usage: agentos/ })
})

t.test('a misspelt command or option is 2 and one line with what was meant', async (t) => {
  t.match(await agentos(t, ['doktor']), { code: 2, err: oneLine(/unknown command 'doktor' \(Did you mean doctor\?\)/) })
  t.match(await agentos(t, ['whoami', '--jsn']), {
    code: 2,
    err: oneLine(/unknown option '--jsn' \(Did you mean --json/)
  })
  t.match(await agentos(t, ['whoami'], { AGENTOS_URL: 'nonsense' }), { code: 2, err: oneLine(/AGENTOS_URL is not/) })
})

t.test('without a key it says where one comes from; a key that cannot be read is no crash', async (t) => {
  t.match(await agentos(t, ['whoami']), { code: 3, err: oneLine(/no key: set AGENTOS_TOKEN/) })
  const home = t.testdir()
  await mkdir(join(home, 'owner.key'))
  t.match(await agentos(t, ['whoami'], { AGENTOS_HOME: home }), {
    code: 3,
    err: oneLine(/.*owner\.key cannot be read/)
  })
})

t.test('where nothing answers, or something else than a server, it is 4', async (t) => {
  const stranger = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1')
  const mute = createServer(() => {}).listen(0, '127.0.0.1')
  t.teardown(() => [stranger, mute].map((server) => server.close().closeAllConnections()))
  await Promise.all([stranger, mute].map((server) => new Promise((resolve) => server.once('listening', resolve))))
  const at = (server: typeof mute) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const free = at(stranger)
  t.match(await agentos(t, ['whoami'], { AGENTOS_URL: free, AGENTOS_TOKEN: 'x' }), { code: 4, out: '' })
  const nobody = await agentos(t, ['whoami'], { AGENTOS_URL: 'http://127.0.0.1:1', AGENTOS_TOKEN: 'x' })
  t.match(nobody, {
    code: 4,
    err: oneLine(/nothing answers at http:\/\/127\.0\.0\.1:1 \(.*\): start a server with npm start/)
  })

  const waiting = runNode(t, 'clients/cli/main.ts', ['whoami'], { AGENTOS_URL: at(mute), AGENTOS_TOKEN: 'x' })
  await new Promise((resolve) => mute.once('request', resolve))
  t.match(await waiting.end('SIGINT'), { code: 130 })
})

t.test('a key that would go over a network in the clear is told before it does', async (t) => {
  const AGENTOS_TOKEN = 'x'
  const open = await agentos(t, ['whoami'], { AGENTOS_URL: 'http://0.0.0.0:1', AGENTOS_TOKEN })
  t.match(open.err, /^agentos: warning: http:\/\/0\.0\.0\.0:1 is not https: .*\nagentos: nothing answers .*\n$/)
  for (const AGENTOS_URL of ['http://localhost:1', 'http://[::1]:1', 'https://0.0.0.0:1']) {
    const { code, err } = await agentos(t, ['whoami'], { AGENTOS_URL, AGENTOS_TOKEN })
    t.match(err, oneLine(/nothing answers/), AGENTOS_URL)
    t.equal(code, 4)
  }
})

/** A server whose export is `chunks` of 64 kB, and then broken off unless it may end. */
async function exporter(t: Test, chunks: number, ends: boolean): Promise<Env> {
  const server = createServer((request, response) => {
    if (request.url === '/v1/audit/verify') {
      response.setHeader('content-type', 'application/json')
      return response.end(JSON.stringify({ ok: true, firstFault: null, key: { id: 'k', publicKey: 'p' } }))
    }
    const body = Readable.from(
      (async function* () {
        for (let n = 0; n < chunks; n++) yield `${'x'.repeat(65_535)}\n`
        if (!ends) throw new Error('broken off')
      })()
    )
    return pipeline(body, response).catch(() => response.destroy())
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close().closeAllConnections())
  await once(server, 'listening')
  return { AGENTOS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, AGENTOS_TOKEN: 'x' }
}

t.test('an export that breaks off is 4 and one line, whoever reads it', async (t) => {
  const env = await exporter(t, 3, false)
  const file = join(t.testdir(), 'audit.ndjson')
  for (const args of [['verify'], ['export'], ['export', '-o', file]]) {
    const { code, err } = await agentos(t, ['audit', ...args], env)
    t.match(err, oneLine(/the server broke off in its export \(.*\): run it again/), args.join(' '))
    t.equal(code, 4)
  }
  await t.rejects(stat(file), { code: 'ENOENT' }, 'no half a chain is left')
})

t.test('an export waits for a reader that is slow', async (t) => {
  const env = await exporter(t, 160, true)
  let [read, most] = [0, 0]
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      read += chunk.length
      most = Math.max(most, this.writableLength)
      setImmediate(done)
    }
  })
  const around = { env, stdout, stderr: process.stderr, interrupted: new AbortController().signal }
  t.equal(await run(['audit', 'export'], around as unknown as Surroundings), 0)
  t.equal(read, 160 * 65_536)
  t.ok(most < 1_000_000, `${most} bytes waited`)
  t.notOk(stdout.writableEnded, 'it is not ours to end')
})

t.test('an older Node hands over to the one that npm install brought, or says what it needs', async (t) => {
  const source = await readFile(new URL('../agentos.js', import.meta.url), 'utf8')
  const dir = t.testdir()
  await mkdir(join(dir, 'node_modules/node/bin'), { recursive: true })
  await mkdir(join(dir, 'clients/cli'), { recursive: true })
  const script = join(dir, 'clients/cli/agentos.mjs')
  await writeFile(script, source.replaceAll('process.versions.node', "'20.1.0'"))
  const run = async () => {
    const program = runNode(t, script, ['one', 'two'], {})
    const { code } = await program.ended
    return { code, out: program.stdout(), err: program.stderr() }
  }
  t.match(await run(), { code: 1, err: oneLine(/needs Node 22\.18 or newer/) })
  const pinned = join(dir, 'node_modules/node/bin/node')
  await writeFile(pinned, '#!/bin/sh\nshift\necho "pinned $@"\nexit 3\n')
  await chmod(pinned, 0o755)
  t.match(await run(), { code: 3, out: 'pinned one two\n' })
})
