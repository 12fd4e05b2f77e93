import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { stayAwake } from '#core/db/stay-awake.ts'
import type { DoctorCheck } from '#core/doctor/doctor.ts'
import { must } from '#core/must.ts'
import { Sandbox, type SandboxCall } from '#sandbox/index.ts'
import { layerChecks } from '#skills-registry/tools/doctor.ts'
import { type ProbeDeps, probeChecks } from '#skills-registry/tools/probes.ts'

const run = async (checks: DoctorCheck[], name: string) => {
  const check = must(
    checks.find((one) => one.name === name),
    name
  )
  try {
    // Between two calls only the clock's timers are left, which keep no process alive.
    return { name, ...(await stayAwake(async () => await check.run())) }
  } catch (error) {
    return { name, ok: false, detail: (error as Error).message } // as core/doctor shows a check that throws
  }
}

t.test('each wall of a cell is a line, and a wall that is not there is red with what it needs', async (t) => {
  const full = new Sandbox({ clock: systemClock, spareCells: 0 })
  const bare = new Sandbox({
    clock: systemClock,
    spareCells: 0,
    isolation: { jail: false, namespaces: false, setpriv: false, prlimit: false, permission: false }
  })
  t.teardown(() => Promise.all([full.close(), bare.close()]))
  const absent = new Set<string>()
  for (const { name } of layerChecks(full)) {
    const { ok, detail } = await run(layerChecks(full), name)
    if (ok === false) absent.add(name)
    t.ok(ok || /^not active: /.test(detail), `${name}: ${detail}`)
  }
  const { missing } = full.status().isolation
  t.equal(absent.size > 0, missing.length > 0, 'green where this machine allows every layer')

  const broken = async (t: Test, name: string, layer: string) => {
    const line = await run(layerChecks(bare), name)
    t.match(line, { name, ok: false, detail: `not active: ${layer}`, fix: /\S/ })
  }
  await broken(t, 'sandbox.jail', 'switched off')
  await broken(t, 'sandbox.namespaces', 'switched off')
  await broken(t, 'sandbox.no-new-privs', 'switched off')
  await broken(t, 'sandbox.limits', 'switched off')
  await broken(t, 'sandbox.permission', 'what it stands on is missing')
  const { isolation } = full.status()
  const unpolled = {
    ready: async () => {},
    status: () => ({ ...full.status(), isolation: { ...isolation, rssPoll: false } })
  }
  t.match(await run(layerChecks(unpolled), 'sandbox.rss-poll'), { name: 'sandbox.rss-poll', ok: false, fix: /Linux/ })
})

t.test('real calls are made: an honest one, a loop, one that nothing can interrupt', async (t) => {
  const sandbox = new Sandbox({ clock: systemClock })
  t.teardown(() => sandbox.close())
  const deps: ProbeDeps = { sandbox, clock: systemClock }
  t.match(await run(probeChecks(deps), 'sandbox.call'), {
    ok: true,
    detail: /^JIT \d+ ms, warm \d+ ms; jitless \d+ ms, warm \d+ ms$/
  })
  t.match(await run(probeChecks(deps), 'sandbox.deadline'), {
    ok: true,
    detail: /^SANDBOX_\w+ after \d+ ms; the next call took \d+ ms$/
  })
  const { kills } = sandbox.status().counts
  t.match(await run(probeChecks(deps), 'sandbox.kill'), { ok: true, detail: /^SANDBOX_KILLED after / })
  t.equal(sandbox.status().counts.kills, kills + 1)
  t.match(await run(probeChecks(deps), 'sandbox.spares'), { ok: true, detail: /alive, \d+ blank, 0 calls wait/ })

  // What a limit that is silently not applied looks like: the call goes on until the probe gives up.
  const limitless = (what: SandboxCall) =>
    sandbox.run({ ...what, limits: { ...what.limits, cpuMs: 60_000, wallMs: 60_000 } })
  const wrong: ProbeDeps = {
    clock: systemClock,
    patienceMs: 200,
    sandbox: {
      ready: () => sandbox.ready(),
      status: () => ({
        ...sandbox.status(),
        cells: sandbox.status().cells.filter(({ tenantId }) => tenantId !== null)
      }),
      endSession: () => {},
      run: limitless
    }
  }
  const endless = { detail: /^SANDBOX_CANCELLED after \d+ ms; the next call took for ever/, fix: /\S/ }
  t.match(await run(probeChecks(wrong), 'sandbox.deadline'), { name: 'sandbox.deadline', ok: false, ...endless })
  t.match(await run(probeChecks(wrong), 'sandbox.kill'), { name: 'sandbox.kill', ok: false, ...endless })
  t.match(await run(probeChecks(wrong), 'sandbox.spares'), { name: 'sandbox.spares', ok: false, fix: /maxCells/ })

  await sandbox.close()
  t.match(await run(probeChecks(deps), 'sandbox.call'), { name: 'sandbox.call', ok: false })
  const adds = { ...wrong, sandbox: { ...wrong.sandbox, run: async () => ({ output: '41' }) as never } }
  t.match(await run(probeChecks(adds), 'sandbox.call'), { ok: false, detail: /another sum/ })
})
