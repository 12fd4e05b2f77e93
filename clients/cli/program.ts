import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { Api, interrupted } from './api.ts'
import { addAudit } from './commands/audit.ts'
import { addDoctor } from './commands/doctor.ts'
import { addReplay } from './commands/replay.ts'
import { addWhoami } from './commands/whoami.ts'
import { connectionOf, isOpenRoad } from './connection.ts'
import { plain, type Screen } from './print.ts'
import { Exit, type ExitCode, Stop } from './stop.ts'

export interface Surroundings {
  env: Record<string, string | undefined>
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
  /** Aborted when somebody pressed Ctrl-C. */
  interrupted: AbortSignal
}

const HELP = `
Environment:
  AGENTOS_URL      where the server is (default http://127.0.0.1:3000)
  AGENTOS_TOKEN    an API key (default: the owner's key in AGENTOS_HOME, for a server on this machine)
  AGENTOS_HOME     the folder in which a server keeps owner.key (default .agentos)
  NO_COLOR         no colours

Exit codes:
  0 ok   1 failed   2 usage   3 the key is missing or may not   4 no server answers   130 interrupted

Examples:
  agentos doctor tenancy
  agentos audit list --limit 10
  agentos replay session.json
  AGENTOS_URL=https://agents.example AGENTOS_TOKEN="$KEY" agentos whoami`

/** Runs one command line. @returns what the process ends with */
export async function run(argv: readonly string[], around: Surroundings): Promise<ExitCode> {
  try {
    await programOf(around).parseAsync(argv, { from: 'user' })
    return Exit.ok
  } catch (error) {
    if (around.interrupted.aborted) return Exit.interrupted
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.ok : Exit.usage
    if (!(error instanceof Stop)) throw error
    if (error.message !== '') around.stderr.write(`agentos: ${error.message}\n`)
    return error.exit
  }
}

function programOf({ env, stdout, stderr, interrupted: signal }: Surroundings): Command {
  const program = new Command('agentos')
  const screenOf = (): Screen => ({ stdout, json: program.opts<{ json?: boolean }>().json ?? false })
  const start = () => {
    if (signal.aborted) throw interrupted()
    const { tenant } = program.opts<{ tenant?: string }>()
    const connection = connectionOf(env, tenant)
    // No refusal: between containers of one host http is the rule.
    if (isOpenRoad(connection)) {
      stderr.write(`agentos: warning: ${connection.url} is not https: whoever is on the way can read the key\n`)
    }
    return { api: new Api(connection, signal), screen: screenOf() }
  }
  program
    .description('Looks into a running AgentOS server through its public API.')
    .version(version(), '-V, --version', 'the version of this command')
    .option('--json', 'print JSON instead of text')
    .option('--tenant <id or slug>', 'the tenant to act in, for a user of several')
    .addHelpText('after', HELP)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: (text, write) =>
        write(`agentos: ${plain(text.replace(/^error: /, '')).replace(/\.$/, '')}; see agentos --help\n`)
    })
  addDoctor(program, start)
  addAudit(program, start, () => ({ screen: screenOf() }))
  addReplay(program, start, () => ({ screen: screenOf(), interrupted: signal }))
  addWhoami(program, start)
  return program
}

function version(): string {
  const about = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  return about.version
}
