import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { Api } from '../api.ts'
import { json, line, paint, plain, type Screen } from '../print.ts'
import { misfit, type Recording, readRecording } from '../replay/recording.ts'
import { NotRun, openSandbox, replay, type Verdict } from '../replay/run.ts'
import { Exit, Stop } from '../stop.ts'

interface Options {
  save?: string
  call?: string
}

interface Offline {
  screen: Screen
  interrupted: AbortSignal
}

const HELP = `
Each line is one call of a tool. identical: the same output to the byte, or the same error. diverged: the code
went another way, and the line says where first. changed: the recording is not what was recorded. skipped: there
is nothing to compare, such as a call that a time limit ended when it was recorded. The exit code is 1 where a line
is red, where no call is recorded, and where the sandbox of this machine cannot run one.

The code runs in a sandbox of this machine, without network, files and secrets: every answer that it gets is the
recorded one. A file is replayed without any server.

Examples:
  agentos replay 019a2b3c-0000-7000-8000-000000000000
  agentos replay 019a2b3c-0000-7000-8000-000000000000 --save session.json
  agentos replay session.json
  agentos replay session.json --call fetch#1 --json`

const SESSION = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function addReplay(program: Command, start: () => { api: Api; screen: Screen }, offline: () => Offline): void {
  program
    .command('replay')
    .summary('does the code of a session still do the same?')
    .description(
      'Runs the tool calls of a session again, offline, on what was recorded, and compares. Needs sessions:read.'
    )
    .argument('<session or file>', 'id of a session, or a file that --save wrote')
    .option(
      '--save <file>',
      'keep the recording in a file that is not there yet (mode 0600: it holds inputs and answers)'
    )
    .option('--call <call>', 'only this call, like fetch#2 for the second attempt of the step fetch')
    .addHelpText('after', HELP)
    .action(async (source: string, { save, call }: Options) => {
      const isSession = SESSION.test(source)
      if (save !== undefined && !isSession)
        throw new Stop(Exit.usage, `--save keeps the recording of a session, and ${source} is a file`)
      const recording = isSession ? await fetchRecording(start().api, source) : await readRecording(source)
      if (save !== undefined) await saveTo(save, recording)
      await show(offline(), recording, call)
    })
}

async function fetchRecording(api: Api, id: string): Promise<Recording> {
  const recording = await api.get<Recording>(`/v1/sessions/${id.toLowerCase()}/recording`, { patienceMs: 120_000 })
  const fault = misfit(recording)
  if (fault !== null)
    throw new Stop(Exit.failed, `what the server sent ${plain(fault)}: update the server or this command`)
  return recording
}

async function saveTo(path: string, recording: Recording): Promise<void> {
  try {
    await writeFile(path, JSON.stringify(recording), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error
    if (code === 'EEXIST') throw new Stop(Exit.usage, `${path} is there already: name a new file`)
    throw new Stop(Exit.failed, `${path} could not be written (${code})`)
  }
}

async function show({ screen, interrupted }: Offline, recording: Recording, wanted: string | undefined): Promise<void> {
  if (recording.calls.length === 0) {
    const why = 'it made none so far, or it ran before calls were recorded'
    throw new Stop(
      Exit.failed,
      `nothing to replay: the recording of session ${plain(recording.sessionId)} has no call: ${why}`
    )
  }
  const verdicts: Verdict[] = []
  const sandbox = openSandbox()
  try {
    for await (const verdict of replay(sandbox, recording, { wanted, signal: interrupted })) {
      verdicts.push(verdict)
      if (!screen.json) showCall(screen, verdict)
    }
  } catch (error) {
    if (!(error instanceof NotRun)) throw error
    throw new Stop(Exit.failed, plain(`the sandbox of this machine could not run the call ${error.message}`))
  } finally {
    await sandbox.close()
  }
  if (wanted !== undefined && verdicts.length === 0) {
    const some = recording.calls.slice(0, 5).map(({ key }) => key.replace(`${recording.sessionId}/`, ''))
    throw new Stop(Exit.usage, plain(`the recording has no call ${wanted}; it has ${some.join(', ') || 'none'}`))
  }
  const count = (result: Verdict['result']) => verdicts.filter((verdict) => verdict.result === result).length
  const [identical, diverged, changed, skipped] = [
    count('identical'),
    count('diverged'),
    count('changed'),
    count('skipped')
  ]
  const first = verdicts.find(({ result }) => result === 'diverged' || result === 'changed')
  const { sessionId, complete } = recording
  if (screen.json) {
    json(screen, {
      ok: first === undefined,
      sessionId,
      complete,
      identical,
      diverged,
      changed,
      skipped,
      first: first ?? null,
      calls: verdicts
    })
  } else {
    const rest = [
      ...(diverged > 0 ? [`${diverged} diverged`] : []),
      ...(changed > 0 ? [`${changed} changed`] : []),
      ...(skipped > 0 ? [`${skipped} not comparable`] : [])
    ]
    line(
      screen,
      `${[`${verdicts.length} ${verdicts.length === 1 ? 'call' : 'calls'}: ${identical} identical`, ...rest].join(', ')}`
    )
    if (first) line(screen, plain(`${first.result}: call ${first.call}, ${first.why}`))
    if (!complete)
      line(screen, paint(screen, 'dim', 'the session was still running: its later calls are not in the recording'))
  }
  if (first) throw new Stop(Exit.failed, '')
}

const colours = { identical: 'green', diverged: 'red', changed: 'red', skipped: 'yellow' } as const

function showCall(screen: Screen, { result, call, skill, tool, why, hostCalls, cpuMs }: Verdict): void {
  const used = cpuMs === undefined ? '' : `, ${hostCalls} host calls, ${Math.round(cpuMs)} ms`
  const reason = why === undefined ? '' : `: ${plain(why)}`
  const about = paint(screen, 'dim', plain(`(${skill} ${tool}${used})`))
  line(screen, `${paint(screen, colours[result], result.padEnd(9))} ${plain(call)}${reason} ${about}`)
}
