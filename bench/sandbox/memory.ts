// `node bench/sandbox/memory.ts`: 1,000 sessions of five tenants in an engine of its own; prints MB as JSON.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { HANDLER } from './handler.ts'
import { call, open } from './ours.ts'

const SESSIONS = 1000
const TENANTS = 5

export interface Memory {
  sessions: number
  tenants: number
  /** MB, the engine and all cells: shared pages counted in each process, and divided among them. */
  rssMb: number
  pssMb: number
  engineMb: number
  cells: number
}

/** Measured in a process of its own. */
export async function memory(): Promise<Memory> {
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(import.meta.url)])
  return JSON.parse(stdout)
}

async function measure(): Promise<Memory> {
  const box = await open()
  // Every session counts its own calls: the second answer is 2 where its isolate was still there, and never more.
  const source = `let calls = 0\n${HANDLER.replace('return { ', 'return { calls: ++calls, ')}`
  const one = (n: number) => box.run(call({ tenantId: `t${n % TENANTS}`, sessionId: `s${n}`, source }))
  for (let pass = 0; pass < 2; pass++)
    for (let n = 0; n < SESSIONS; n += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => one(n + i)))
  const pids = [process.pid, ...box.status().cells.map((cell) => cell.pid)]
  const sum = (name: string) => Math.round(pids.reduce((all, pid) => all + rollup(pid, name), 0) / 1024)
  const found = {
    sessions: SESSIONS,
    tenants: TENANTS,
    rssMb: sum('Rss'),
    pssMb: sum('Pss'),
    engineMb: Math.round(rollup(process.pid, 'Rss') / 1024),
    cells: pids.length - 1
  }
  await box.close()
  return found
}

function rollup(pid: number, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))
  return Number(found?.[1])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(JSON.stringify(await measure()))
