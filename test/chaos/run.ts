// `npm run test:chaos -- --sessions 200 --seconds 30 --hosts 2 --seed <seed> [--skills] [--proof]`
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { stayAwake } from '#core/db/stay-awake.ts'
import { writeProof } from './proof.ts'
import { isClean, storm, summary } from './storm.ts'

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '30' },
    hosts: { type: 'string', default: '2' },
    seed: { type: 'string', default: randomBytes(4).toString('hex') },
    skills: { type: 'boolean', default: false },
    proof: { type: 'boolean', default: false }
  }
})
const options = {
  sessions: Number(values.sessions),
  seconds: Number(values.seconds),
  hosts: Number(values.hosts),
  seed: values.seed,
  skills: values.skills
}
console.log(`seed ${options.seed}`)

const undo: (() => unknown)[] = []
const clean = await stayAwake(async () => {
  try {
    const report = await storm({ teardown: (run) => undo.unshift(run) }, options)
    console.log(summary(report))
    for (const line of report.diagnosis) console.log(line)
    for (const [kind, list] of Object.entries(report.findings)) {
      for (const line of list.slice(0, 20)) console.log(`  ${kind}: ${line}`)
    }
    console.log(`  repeated requests: ${JSON.stringify(report.repeatedRequests)}`)
    if (report.crashPointsMissed.length > 0) console.log(`  crash points not hit: ${report.crashPointsMissed.join()}`)
    if (values.proof) await writeProof(report)
    return isClean(report)
  } finally {
    for (const run of undo) await run()
  }
})
process.exitCode = clean ? 0 : 1
