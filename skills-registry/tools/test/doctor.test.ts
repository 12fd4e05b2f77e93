import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { must } from '#core/must.ts'
import { Sandbox } from '#sandbox/index.ts'
import { CellProcess } from '#sandbox/supervisor/cell-process.ts'
import { call } from '#sandbox/test/support.ts'
import { sandboxChecks } from '#skills-registry/tools/doctor.ts'

const check = (sandbox: Sandbox, name: string) => {
  return must(
    sandboxChecks(sandbox).find((one) => one.name === name),
    'a check'
  )
}

t.test('the line of the isolation names each layer that is not active', async (t) => {
  const full = new Sandbox({ clock: systemClock })
  t.teardown(() => full.close())
  const verdict = await check(full, 'sandbox.isolation').run()
  const { missing } = full.status().isolation
  t.equal(verdict.ok, missing.length === 0, 'green where this machine allows every layer')

  for (const layer of ['jail', 'setpriv', 'prlimit'] as const) {
    const weak = new Sandbox({ clock: systemClock, isolation: { [layer]: false } })
    const line = check(weak, 'sandbox.isolation')
    const { detail, fix, ...verdict } = await line.run()
    await weak.close()
    t.match({ ...line, ...verdict }, { name: 'sandbox.isolation', ok: false }, layer)
    t.ok(detail.includes(`${layer}: switched off`), detail)
    t.ok(fix)
  }
})

t.test('the line of the cells is red from the moment in which a cell runs a second tenant', async (t) => {
  const sandbox = new Sandbox({ clock: systemClock, spareCells: 0, maxCells: 1 })
  t.teardown(() => sandbox.close())
  const cells = check(sandbox, 'sandbox.cells')
  const what = call('export const run = () => 1')
  for (const tenantId of ['a', 'b', 'a']) await sandbox.run({ ...what, tenantId })
  t.match(await cells.run(), { ok: true, detail: /^3 processes since the start/ })

  // Broken: a cell stays blank for ever, so that whoever comes next gets it.
  const { bind } = CellProcess.prototype
  t.teardown(() => Object.assign(CellProcess.prototype, { bind }))
  CellProcess.prototype.bind = function (tenantId) {
    bind.call(this, tenantId)
    queueMicrotask(() => {
      this.tenantId = null
    })
  }
  for (const tenantId of ['c', 'd']) await sandbox.run({ ...what, tenantId })
  t.match(
    { ...cells, ...(await cells.run()) },
    { name: 'sandbox.cells', ok: false, detail: /1 shared$/, fix: /stop this server/ }
  )
  await sandbox.close()
  t.match(await cells.run(), { ok: false }, 'also when the cell is gone')
})
