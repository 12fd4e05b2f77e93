// The host behind ctx, as the tools room answers it, in memory: args in, JSON text out.

export interface Asked {
  name: string
  args: unknown[]
}

type Answers = Record<string, (...args: never[]) => unknown>

export function refusal(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** `asked` holds what reached the host, in order. `answers` replaces or adds methods by their host-call name. */
export function fakeHost(answers: Answers = {}) {
  const asked: Asked[] = []
  const values = new Map<string, { value: unknown; version: number }>()
  const files = new Map<string, Buffer>()
  const put = (
    path: string,
    { text, base64 }: { text?: string; base64?: string },
    before: Buffer = Buffer.alloc(0)
  ) => {
    const bytes = Buffer.concat([before, text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text)])
    files.set(path, bytes)
    return { path, bytes: bytes.length }
  }
  const methods: Answers = {
    'storage.get': (key: string) => values.get(key) ?? null,
    'storage.set': (key: string, value: unknown, { ifVersion }: { ifVersion?: number }) => {
      const version = values.get(key)?.version ?? 0
      if (ifVersion !== undefined && ifVersion !== version)
        throw refusal('STORAGE_CONFLICT', `${key} has version ${version}`)
      values.set(key, { value, version: version + 1 })
      return { version: version + 1 }
    },
    'storage.delete': (key: string) => values.delete(key),
    'storage.list': ({ prefix = '' }: { prefix?: string }) => ({
      keys: [...values].filter(([key]) => key.startsWith(prefix)).map(([key, { version }]) => ({ key, version })),
      next: null
    }),
    'files.read': (path: string, { as, offset = 0, length = 8 }: { as: string; offset?: number; length?: number }) => {
      const whole = files.get(path)
      if (!whole) throw refusal('FILES_NOT_FOUND', `${path} is not there`)
      const part = whole.subarray(offset, offset + length)
      const more = offset + length < whole.length
      return as === 'text'
        ? { text: part.toString(), bytes: part.length, more }
        : { base64: part.toString('base64'), bytes: part.length, more }
    },
    'files.write': (path: string, content: { text?: string }) => put(path, content),
    'files.append': (path: string, content: { text?: string }) => put(path, content, files.get(path)),
    'files.delete': (path: string) => files.delete(path),
    'files.stat': (path: string) => (files.has(path) ? { path, bytes: files.get(path)?.length } : null),
    'files.list': ({ prefix = '' }: { prefix?: string }) => ({
      files: [...files.keys()].filter((path) => path.startsWith(prefix)).map((path) => ({ path })),
      next: null
    }),
    'events.publish': (type: string) => ({ event: `skill.acme.${type}` }),
    'model.run': () => ({ text: 'yes', model: 'small', usage: { inputTokens: 3, outputTokens: 1 } }),
    'tools.call': (address: string, input: unknown) => ({ address, input }),
    progress: () => null,
    ...answers
  }
  return {
    asked,
    async onHostCall(name: string, args: string): Promise<string> {
      const given = JSON.parse(args) as never[]
      asked.push({ name, args: given })
      return JSON.stringify((await methods[name]?.(...given)) ?? null)
    }
  }
}

/** Everything that a manifest can ask for. */
export const ALL = [
  ...['log', 'progress', 'fetch', 'storage.get', 'storage.list', 'storage.set', 'storage.delete', 'files.read'],
  ...['files.list', 'files.stat', 'files.write', 'files.append', 'files.delete', 'events.publish', 'model.run'],
  'tools.call'
]
