import { readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runNode } from '#test/support/run-node.ts'

const client = (t: Test, env: Record<string, string>, ...args: string[]) =>
  runNode(t, 'examples/clients/drive-a-session.ts', args, env)

async function ends(t: Test, env: Record<string, string>, ...args: string[]) {
  const program = client(t, env, ...args)
  const { code } = await program.ended
  return { code, stdout: program.stdout(), stderr: program.stderr() }
}

t.test('it says what is missing instead of trying', async (t) => {
  const url = { AGENTOS_URL: 'http://127.0.0.1:1' }
  const [help, noUrl, noToken, badUrl, nobody, unknown, noFile] = await Promise.all([
    ends(t, {}, '--help'),
    ends(t, {}),
    ends(t, url),
    ends(t, { AGENTOS_URL: 'localhost', AGENTOS_TOKEN: 'x' }),
    ends(t, { ...url, AGENTOS_TOKEN: 'x' }),
    ends(t, url, '--verbose'),
    ends(t, { ...url, AGENTOS_TOKEN: 'x' }, 'no-such-file.csv')
  ])
  t.match(help, { code: 0, stdout: /AGENTOS_URL[\s\S]+Exit code: 0/, stderr: '' })
  t.match(noUrl, { code: 2, stdout: '', stderr: /^AGENTOS_URL is not set/ })
  t.match(noToken, { code: 2, stdout: '', stderr: /^AGENTOS_TOKEN is not set/ })
  t.match(badUrl, { code: 2, stderr: /^AGENTOS_URL is no http address: localhost/ })
  t.match(nobody, { code: 2, stderr: /^nobody answers at http:\/\/127\.0\.0\.1:1: is the server running\?/ })
  t.match(unknown, { code: 2, stderr: /^unknown arguments: --verbose/ })
  t.match(noFile, { code: 2, stderr: /^no-such-file\.csv cannot be read/ })
})

t.test('against a server as `npm start` leaves it', async (t) => {
  const home = t.testdir()
  const server = runNode(t, 'config/main.ts', [], { AGENTOS_HOME: home, PORT: '0', LOG_LEVEL: 'warn' })
  const [, url = ''] = await server.says(/^agentos ready on (\S+)/m)
  await server.says(/Type next/) // its own example is over: the skill is installed
  const AGENTOS_TOKEN = await readFile(join(home, 'owner.key'), 'utf8')
  const env = { AGENTOS_URL: url, AGENTOS_TOKEN }

  await t.test('it follows a session to its result', async (t) => {
    const run = await ends(t, env)
    t.equal(run.code, 0, run.stderr)
    const events = run.stdout.split('\n').filter((line) => /^ *\d+ % /.test(line))
    t.match(
      events.map((line) => line.split(/ {2}/).at(-1)).join(),
      /^session\.created,session\.started,.*session\.completed$/
    )
    const seqs = events.map((line) => Number(/#(\d+)/.exec(line)?.[1]))
    t.strictSame(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b)
    )
    t.match(run.stdout, /session \S+ is COMPLETE\n\{/)
    const result = JSON.parse(run.stdout.slice(run.stdout.indexOf('\n{')))
    t.match(result, { rows: 8, columns: [{ name: 'date', type: 'date' }, { name: 'temp_max' }, {}, {}] })
  })

  await t.test('it reads a file; a session that fails is exit code 1 with its reason', async (t) => {
    const good = join(home, 'good.csv')
    await writeFile(good, 'a;b\n1;x\n2;y\n')
    const bad = join(home, 'bad.csv')
    await writeFile(bad, `${'column,'.repeat(600)}\n`) // the skill takes 500
    const empty = join(home, 'empty.csv')
    await writeFile(empty, '')
    const [fine, failed, refused] = await Promise.all([ends(t, env, good), ends(t, env, bad), ends(t, env, empty)])
    t.match(fine, { code: 0, stdout: /"rows": 2/ })
    t.match(failed, { code: 1, stdout: /session\.failed/, stderr: /^session \S+ is FAILED: \S+ .+/ })
    t.match(refused, { code: 1, stdout: '', stderr: /^session\.create was refused: PULSE_TOOL_INPUT_INVALID \(422\)/ })
  })

  await t.test('a key that the server does not know is exit code 2', async (t) => {
    const wrong = `${AGENTOS_TOKEN.trim().slice(0, -3)}000`
    t.match(await ends(t, { ...env, AGENTOS_TOKEN: wrong }), {
      code: 2,
      stderr: /^the server refuses this AGENTOS_TOKEN: AUTH_/
    })
  })

  await t.test('a connection that breaks in the middle costs no event and makes no second session', async (t) => {
    // First the answer to session.create is lost, then the connection breaks between two events.
    const words = ['"QUEUED"', '"session.progress"']
    const port = await breakingProxy(t, Number(new URL(url).port), words)
    const before = await sessions(url, AGENTOS_TOKEN)
    const run = await ends(t, { ...env, AGENTOS_URL: `http://127.0.0.1:${port}` })
    t.equal(run.code, 0, run.stderr)
    t.strictSame(words, [], 'it broke twice')
    t.match(run.stderr, /^connection lost, trying again in \d+ ms from seq 0\nconnection lost, .* from seq [1-9]\d*\n$/)
    for (const event of ['created', 'started', 'progress', 'checkpoint', 'completed']) {
      t.equal(run.stdout.split(`session.${event}`).length, 2, `session.${event} once`)
    }
    t.equal((await sessions(url, AGENTOS_TOKEN)) - before, 1)
  })
})

async function sessions(url: string, token: string): Promise<number> {
  const answer = await fetch(`${url}/v1/sessions?limit=200`, { headers: { authorization: `Bearer ${token.trim()}` } })
  return ((await answer.json()) as { data: unknown[] }).data.length
}

/** A wire that breaks once for each of `words`, in the middle of the frame in which the server says it. */
async function breakingProxy(t: Test, port: number, words: string[]) {
  const proxy = createServer((socket) => {
    const server = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [socket, server],
      [server, socket]
    ] as const) {
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
    }
    socket.on('data', (bytes: Buffer) => server.write(bytes))
    server.on('data', (bytes: Buffer) => {
      const at = words[0] === undefined ? -1 : bytes.indexOf(words[0])
      if (at < 0) return void socket.write(bytes)
      words.shift()
      server.removeAllListeners('data')
      socket.write(bytes.subarray(0, at), () => socket.destroy())
    })
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => proxy.close())
  return (proxy.address() as AddressInfo).port
}
