// A server process of the embedded tests: starts the database of a folder, says so, and stays until it is killed.
import { startEmbeddedPostgres } from '#core/db/index.ts'

const [dir = '', mode] = process.argv.slice(2)
try {
  const { port, pid, attached, stop } = await startEmbeddedPostgres({ dir, settings: { fsync: 'off' } })
  console.log(JSON.stringify({ port, pid, attached }))
  if (mode === 'stop') await stop()
  else process.stdin.resume() // the test's end of this pipe goes with the test
} catch (error) {
  const { code, message } = error as { code: string; message: string }
  console.log(JSON.stringify({ code, message }))
}
