import { type DestinationStream, type LogFn, type Logger, pino } from 'pino'
import { cutFields, cutText } from '#core/log-fields.ts'
import { scrub, scrubJson } from '#core/scrub.ts'

export type Log = Logger

const MAX_MESSAGE = 2000

/**
 * The process's log: JSON lines, objects cut to named fields (core/log-fields.ts), and every finished line scrubbed of
 * living secrets and of what looks like one. (pino's `redact` alone misses nested fields, texts and causes.)
 * @param destination default stderr: stdout is for what people and scripts read
 */
export function createLog(options: { level?: string; destination?: DestinationStream } = {}): Log {
  const out = options.destination ?? pino.destination({ dest: 2, sync: true })
  const log = pino(
    {
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: cutFields },
      // They stand in cutFields; pino's own would run on what is cut already.
      serializers: { err: same, error: same, req: same, res: same },
      hooks: { logMethod: plainWords }
    },
    new ScrubbedLines(out)
  )
  // pino gives the fields of children to no formatter; a child inherits this method.
  const { child, setBindings } = log
  log.child = function (this: Log, fields: object) {
    return child.call(this, cutFields(fields))
  } as Log['child']
  log.setBindings = function (this: Log, fields) {
    setBindings.call(this, cutFields(fields))
  }
  return log
}

class ScrubbedLines {
  readonly #out: DestinationStream

  constructor(out: DestinationStream) {
    this.#out = out
  }

  write(line: string): void {
    this.#out.write(this.clean(line))
  }

  clean(line: string): string {
    return `${scrubJson(line.trimEnd())}\n`
  }
}

/** A line as it would leave this log, or null where it would leave as it is: the log was not made by createLog. */
export function lineOf(log: object, fields: object): string | null {
  const stream = (log as Record<symbol, unknown>)[pino.symbols.streamSym]
  return stream instanceof ScrubbedLines ? stream.clean(JSON.stringify(fields)) : null
}

const same = (value: unknown) => value

// log.info(fields, 'text %s', value): what is filled in must be a word, not an object.
function plainWords(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
  const [first, ...rest] = args as unknown[]
  const words = rest.map((word) => (typeof word === 'object' && word !== null ? '[object]' : shorten(word)))
  ;(method as (...words: unknown[]) => void).call(this, shorten(first), ...words)
}

function shorten(word: unknown): unknown {
  return typeof word === 'string' ? cutText(word, MAX_MESSAGE) : word
}

interface Output {
  write: NodeJS.WriteStream['write']
}

/** From now on whatever the process writes to these streams is scrubbed like its log. */
export function scrubOutput(...streams: Output[]): void {
  for (const stream of streams) {
    const write = stream.write.bind(stream) as (chunk: unknown, ...rest: unknown[]) => boolean
    stream.write = ((chunk: unknown, ...rest: unknown[]) =>
      write(typeof chunk === 'string' ? scrub(chunk) : chunk, ...rest)) as Output['write']
  }
}
