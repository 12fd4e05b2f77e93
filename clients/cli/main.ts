import { run } from './program.ts'
import { Exit } from './stop.ts'

const ctrlC = new AbortController()
// A second one ends the process at once, as for any other program.
process.once('SIGINT', () => ctrlC.abort())

// `agentos audit list | head` closes the pipe: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(Exit.ok)
  throw error
})

const { env, stdout, stderr } = process
process.exitCode = await run(process.argv.slice(2), { env, stdout, stderr, interrupted: ctrlC.signal })
