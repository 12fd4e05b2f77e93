import type { Command } from 'commander'
import type { Api } from '../api.ts'
import { json, line, paint, plain, type Screen } from '../print.ts'
import { Exit, Stop } from '../stop.ts'

interface Check {
  name: string
  title: string
  ok: boolean | 'unknown'
  detail: string
  fix?: string
  ms: number
}

interface Report {
  group: string
  ok: boolean
  at: string
  checks: Check[]
}

const HELP = `
Each line is one promise of the server, looked at now: green it holds, red it does not (with the next
thing to do), ? there is nothing here to look at. Needs a key of Tenant Zero with platform:doctor, as
the owner's key of the server is.

Examples:
  agentos doctor tenancy          is every tenant apart from every other one?
  agentos doctor                  all groups
  agentos doctor tenancy --json   for a monitor; the exit code is 1 where a line is red`

export function addDoctor(program: Command, start: () => { api: Api; screen: Screen }): void {
  program
    .command('doctor')
    .summary('what holds on this server, and what to do where it does not')
    .description('Lets a running server look at itself and prints one line for each promise.')
    .argument('[group]', 'one group of checks; all when left out')
    .addHelpText('after', HELP)
    .action(async (group: string | undefined) => {
      const { api, screen } = start()
      const reports = await ask(api, group)
      const ok = reports.every((report) => report.ok)
      if (screen.json) json(screen, { ok, reports })
      else show(screen, reports)
      if (!ok) throw new Stop(Exit.failed, '')
    })
}

/** @throws Stop (2) for a group that the server does not have */
async function ask(api: Api, wanted: string | undefined): Promise<Report[]> {
  const { data } = await api.get<{ data: { group: string }[] }>('/v1/platform/doctor')
  const groups = data.map(({ group }) => group)
  if (wanted !== undefined && !groups.includes(wanted)) {
    throw new Stop(Exit.usage, plain(`this server has no group "${wanted}"; it has ${groups.join(', ')}`))
  }
  const reports: Report[] = []
  for (const group of wanted === undefined ? groups : [wanted]) {
    // Checks have limits of their own, but there are many of them.
    reports.push(await api.get<Report>(`/v1/platform/doctor/${encodeURIComponent(group)}`, { patienceMs: 180_000 }))
  }
  return reports
}

function show(screen: Screen, reports: Report[]): void {
  for (const { group, checks } of reports) {
    if (reports.length > 1) line(screen, paint(screen, 'bold', plain(group)))
    for (const check of checks) showCheck(screen, check)
  }
  const all = reports.flatMap(({ checks }) => checks)
  const count = (ok: Check['ok']) => all.filter((check) => check.ok === ok).length
  const unknown = count('unknown') > 0 ? `, ${count('unknown')} with nothing to look at` : ''
  line(screen, `${count(true)} ok, ${count(false)} failed${unknown}`)
}

const marks = {
  true: { colour: 'green', symbol: '✔', word: 'ok    ' },
  false: { colour: 'red', symbol: '✘', word: 'FAILED' },
  unknown: { colour: 'yellow', symbol: '?', word: '?     ' }
} as const

function showCheck(screen: Screen, { ok, title, detail, fix }: Check): void {
  const { colour, symbol, word } = marks[`${ok}`]
  const mark = paint(screen, colour, screen.stdout.isTTY ? symbol : word)
  const seen = detail === '' ? '' : paint(screen, 'dim', `: ${plain(detail)}`)
  const next = ok === false && fix !== undefined ? ` -> ${plain(fix)}` : ''
  line(screen, `${mark} ${plain(title)}${seen}${next}`)
}
