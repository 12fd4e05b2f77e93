// From the death of a cell to its tenant's next good result, with a warm spare: SIGKILL from outside, and a call that only
// a SIGKILL ends.
import type { Sandbox } from '#sandbox/index.ts'
import { verify } from './handler.ts'
import { call, spareReady } from './ours.ts'

const HOSTILE = 'export function run() { return "a".repeat(2 ** 28).split("").length }'

let unique = 0

/** @returns ms of each death */
export async function recoveries(box: Sandbox, how: 'SIGKILL' | 'hostile', times: number): Promise<number[]> {
  const found: number[] = []
  for (let i = 0; i < times; i++) {
    const tenantId = `mortal-${++unique}`
    await box.run(call({ tenantId }))
    await spareReady(box)
    if (how === 'hostile') await box.run(call({ tenantId, source: HOSTILE, input: '1' })).catch(() => undefined)
    const cell = box.status().cells.find((one) => one.tenantId === tenantId)
    const began = performance.now()
    if (how === 'SIGKILL') {
      if (!cell) throw new Error('the cell to be killed has gone before')
      process.kill(cell.pid, how)
    }
    const again = () => box.run(call({ tenantId })).catch(() => undefined)
    let result = await again()
    while (!result) result = await again()
    verify(result.output)
    found.push(performance.now() - began)
  }
  return found
}
