import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import t from 'tap'
import type { Sandbox } from '../index.ts'
import { buildImage } from '../supervisor/image.ts'
import { call, outcome, sandbox } from './support.ts'

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return false
  }
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5)) // not setImmediate: that burns the core that is waited for
}

const cellOf = (box: Sandbox, tenantId: string) => box.status().cells.find((cell) => cell.tenantId === tenantId)

t.test('two tenants never share a process, nor do verified and unverified code', async (t) => {
  const box = sandbox()
  t.teardown(() => box.close())
  const what = call('export const run = () => 1')
  for (const tenantId of ['a', 'b'])
    for (const verified of [true, false]) await box.run({ ...what, tenantId, skill: { ...what.skill, verified } })
  const owned = box.status().cells.filter((cell) => cell.tenantId !== null)
  t.equal(owned.length, 4)
  t.equal(new Set(owned.map((cell) => cell.pid)).size, 4)
  t.strictSame(owned.map((cell) => `${cell.tenantId} ${cell.kind}`).sort(), [
    'a jit',
    'a jitless',
    'b jit',
    'b jitless'
  ])
  t.ok(owned.every((cell) => alive(cell.pid)))
})

t.test(
  'kill -9 of a cell in the middle of a call fails that call; the next one is served by another cell',
  async (t) => {
    const box = sandbox()
    t.teardown(() => box.close())
    let kill = () => undefined as unknown
    const what = call('export const run = (_, ctx) => ctx.progress(1)', {
      onHostCall: () => {
        kill()
        return new Promise(() => undefined)
      }
    })
    let pid = 0
    kill = () => {
      pid = cellOf(box, 'tenant-a')?.pid ?? 0
      process.kill(pid, 'SIGKILL')
    }
    const { code, error } = await outcome(box, what)
    t.equal(code, 'SANDBOX_KILLED')
    t.equal(error?.retryable, true, 'the skill did not do it')
    t.equal((await outcome(box, call('export const run = () => "back"'))).output, 'back')
    t.not(cellOf(box, 'tenant-a')?.pid, pid)
  }
)

t.test('calls that shared a killed cell go on in another one, and their host calls are made once', async (t) => {
  const box = sandbox()
  t.teardown(() => box.close())
  await box.run(call('export const run = () => 1'))
  let effects = 0
  let answer = (_: string) => undefined as unknown
  let effectful: ReturnType<typeof outcome> | undefined
  const entered = new Promise<void>((began) => {
    effectful = outcome(
      box,
      call('export const run = (i, ctx) => ctx.progress(i)', {
        sessionId: 'effect',
        limit: { wallMs: 20_000 },
        onHostCall: () => {
          effects++
          began()
          return new Promise((resolve) => (answer = resolve))
        }
      })
    )
  })
  await entered
  const bomb = outcome(
    box,
    call('export const run = () => [].indexOf.call({ length: 2 ** 53 - 1 }, 1)', {
      sessionId: 'bomb',
      limit: { cpuMs: 300 }
    })
  )
  const spin = 'let x = 0; export const run = (i) => { for (let k = 0; k < i; k++) x += k % 7; return "spun" }'
  const innocent = outcome(
    box,
    call(spin, { sessionId: 'innocent', input: '400000000', limit: { cpuMs: 20_000, wallMs: 20_000 } })
  )
  t.equal((await bomb).code, 'SANDBOX_KILLED')
  answer('"told"')
  t.equal((await effectful)?.output, 'told')
  t.equal(effects, 1)
  t.equal((await innocent).output, 'spun')
  t.ok(box.status().counts.kills >= 1)
})

t.test('the guilty one of a crash that nobody can be blamed for is found by trying each alone', async (t) => {
  const box = sandbox()
  t.teardown(() => box.close())
  await box.run(call('export const run = () => 1'))
  const slow = 'export const run = (i) => { let x = 0; for (let k = 0; k < 1.5e8; k++) x += k % 7; return i }'
  const limit = { cpuMs: 20_000, wallMs: 20_000 }
  const innocents = [1, 2, 3].map((n) => outcome(box, call(slow, { sessionId: `s${n}`, input: `${n}`, limit })))
  const guilty = outcome(
    box,
    call('export const run = () => "a".repeat(2 ** 28).split("").length', { sessionId: 'bomb', limit })
  )
  t.equal((await guilty).code, 'SANDBOX_KILLED')
  t.strictSame(
    (await Promise.all(innocents)).map((one) => one.output),
    [1, 2, 3]
  )
  // How many of them it took along depends on who had begun; that none of them pays for it does not.
  t.comment(`${box.status().counts.retries} calls were tried again`)
})

t.test('memory that the isolate does not count is seen from outside', async (t) => {
  const box = sandbox({ cellMemoryMb: 160 })
  t.teardown(() => box.close())
  const big =
    'export const run = () => { const a = []; for (let i = 0; i < 60; i++) a.push(new Uint8Array(1e6).fill(1)); while (true); }'
  const what = (n: number) => call(big, { sessionId: `m${n}`, limit: { memoryMb: 80, cpuMs: 800, wallMs: 3000 } })
  const codes = (await Promise.all([1, 2, 3, 4].map((n) => outcome(box, what(n))))).map((one) => one.code)
  t.ok(
    codes.every((code) => code === 'SANDBOX_MEMORY' || code === 'SANDBOX_TIMEOUT' || code === 'SANDBOX_KILLED'),
    codes.join()
  )
  t.ok(box.status().counts.kills > 0)
  t.equal((await outcome(box, call('export const run = () => 1'))).output, 1)
})

t.test('a tenant has a bounded queue; the others go on', async (t) => {
  const box = sandbox({ callsPerCell: 2, queuePerTenant: 3 })
  t.teardown(() => box.close())
  await box.run(call('export const run = () => 1'))
  const spin = call('export const run = () => { while (true); }', { limit: { cpuMs: 300 } })
  const all = Array.from({ length: 9 }, () => outcome(box, spin))
  t.equal((await outcome(box, call('export const run = () => 2', { tenantId: 'other' }))).output, 2)
  const codes = (await Promise.all(all)).map((one) => one.code)
  t.equal(codes.filter((code) => code === 'SANDBOX_BUSY').length, 4)
  t.equal(codes.filter((code) => code === 'SANDBOX_TIMEOUT').length, 5)
})

t.test('with room for two cells, five tenants are served in turn', async (t) => {
  const box = sandbox({ maxCells: 2, spareCells: 1 })
  t.teardown(() => box.close())
  const what = call('export const run = (i) => i')
  const tenants = ['a', 'b', 'c', 'd', 'e', 'a', 'b']
  const all = await Promise.all(tenants.map((tenantId) => outcome(box, { ...what, tenantId, input: `"${tenantId}"` })))
  t.strictSame(
    all.map((one) => one.output),
    tenants
  )
  t.ok(box.status().cells.length <= 3, 'two, and one that may be on its way out')
  t.ok(box.status().counts.evicted >= 3)
})

t.test('a cell is replaced after its runs and when it is idle', async (t) => {
  const box = sandbox({ recycleAfter: 3, idleMs: 100 })
  t.teardown(() => box.close())
  const what = call('let n = 0; export const run = () => ++n')
  const outputs = []
  for (let i = 0; i < 5; i++) outputs.push(JSON.parse((await box.run(what)).output))
  t.strictSame(outputs, [1, 2, 3, 1, 2])
  t.equal(box.status().counts.recycled, 1)
  await until(() => cellOf(box, 'tenant-a') === undefined)
  t.equal((await outcome(box, what)).output, 1)
})

t.test('close ends every process, fails what runs or waits, and removes the image', async (t) => {
  const box = sandbox({ callsPerCell: 1 })
  await box.run(call('export const run = () => 1'))
  const running = [1, 2].map(() =>
    outcome(box, call('export const run = () => { while (true); }', { limit: { cpuMs: 60_000, wallMs: 60_000 } }))
  )
  await until(() => (cellOf(box, 'tenant-a')?.calls ?? 0) > 0)
  const pids = box.status().cells.map((cell) => cell.pid)
  await box.close()
  t.strictSame(
    (await Promise.all(running)).map((one) => one.code),
    ['SANDBOX_CLOSED', 'SANDBOX_CLOSED']
  )
  t.ok(pids.length > 0 && pids.every((pid) => !alive(pid)), pids.join())
  t.equal((await outcome(box, call('export const run = () => 1'))).code, 'SANDBOX_CLOSED')
  t.strictSame(box.status().cells, [])
})

t.test('cells die with an engine that is killed, and an idle sandbox does not keep a process alive', async (t) => {
  const source = (tail: string) => `
    const { sandbox, call } = await import(${JSON.stringify(new URL('./support.ts', import.meta.url).href)})
    const box = sandbox(${tail === '' ? '' : '{ isolation: { setpriv: false, namespaces: false } }'})
    await box.run(call('export const run = () => 1'))
    console.log(JSON.stringify(box.status().cells.map((cell) => cell.pid)))
    ${tail === 'end' ? '' : 'setInterval(() => {}, 1000)'}`
  for (const tail of ['', 'no wrappers', 'end']) {
    const engine = spawn(process.execPath, ['--input-type=module', '-e', source(tail)], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    const exited = new Promise<number | null>((resolve) => engine.once('exit', resolve))
    const pids = await new Promise<number[]>((resolve) =>
      engine.stdout.once('data', (data) => resolve(JSON.parse(`${data}`)))
    )
    t.ok(pids.length > 0)
    if (tail === 'end') t.equal(await exited, 0, 'it ended by itself')
    else engine.kill('SIGKILL')
    await exited
    await until(() => pids.every((pid) => !alive(pid)))
    t.pass(`no cell is left: ${tail}`)
  }
  const image = buildImage()
  image.remove()
  const owners = readdirSync(tmpdir()).map((name) => Number(/^agentos-cell-\w+-(\d+)-/.exec(name)?.[1] ?? process.pid))
  t.ok(owners.every(alive), 'images of killed engines are swept by the next one')
})

t.test('the engine never loads isolated-vm', async (t) => {
  const box = sandbox()
  await box.run(call('export const run = () => 1'))
  await box.close()
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] }
  t.notOk(sharedObjects.some((file) => file.includes('isolated-vm')))
  t.notOk(existsSync('/proc/self/maps') && readFileSync('/proc/self/maps', 'latin1').includes('isolated-vm'))
})
