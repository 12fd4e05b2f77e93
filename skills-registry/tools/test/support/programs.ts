import fc from 'fast-check'
import { Permissions } from '#skills-registry/package/manifest.ts'

/** Everything is drawn from few words, so that two manifests often say the same thing and often nearly the same. */
export const WORDS = {
  hosts: ['a.example.com', 'b.example.com'],
  verbs: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  secrets: ['S_ONE', 'S_TWO'],
  types: ['x.made', 'x.sent', 'y.made'],
  skills: ['p', 'q', 'r', 's'],
  tools: ['one', 'two']
} as const
const ADDRESSES = WORDS.skills.flatMap((skill) => WORDS.tools.map((tool) => `${skill}.${tool}`))

/** What a tool of the program does, one after the other; a called tool does what its input says. */
export type Action =
  | { do: 'fetch'; verb: string; host: string }
  | { do: 'publish'; type: string; data: object }
  | { do: 'model'; maxTokens: number }
  | { do: 'read' | 'write'; part: 'storage' | 'files' }
  | { do: 'call'; address: string; body: Action[] }
  | { do: 'hostile'; name: string; args: unknown }

export interface Case {
  /** Of the skills p, q, r and s. */
  manifests: Permissions[]
  /** What the tenant grants of each; undefined: all of it. */
  wanted: (Permissions | undefined)[]
  /** Addresses that no installed skill has. */
  missing: string[]
  program: Action[]
}

const some = <T>(words: readonly T[]) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant([...words]) }, { weight: 2, arbitrary: fc.subarray([...words]) })
const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 5, arbitrary }, { weight: 1, arbitrary: fc.constant(undefined) })

const Rule = fc.record(
  {
    host: fc.constantFrom(...WORDS.hosts),
    methods: fc.subarray([...WORDS.verbs], { minLength: 1 }),
    secret: fc.constantFrom(...WORDS.secrets)
  },
  { requiredKeys: ['host', 'methods'] }
)
const access = fc.constantFrom('read' as const, 'write' as const)

const Drawn: fc.Arbitrary<Permissions> = fc
  .record({
    fetch: maybe(fc.array(Rule, { maxLength: 4 })),
    storage: maybe(access),
    files: maybe(access),
    secrets: maybe(some(WORDS.secrets)),
    events: maybe(some(WORDS.types)),
    model: maybe(fc.record({ tokens: fc.constantFrom(1, 2, 3, 100, 10_000_000) })),
    tools: maybe(some(ADDRESSES))
  })
  .map((drawn) => Permissions.parse(drawn))

const hostileWord = fc.constantFrom(
  ...['', '.', '__proto__.one', 'constructor.one', 'p', 'p.', '.one', 'p.one.two', 'P.one', 'p.one ', 'p.toString'],
  ...[
    'p.one\u0000',
    '*',
    'x.*',
    'x',
    'x.made.',
    'X.made',
    'session.completed',
    '@acme/p.one',
    'p．one',
    'p.constructor'
  ]
)
const hostileValue = fc.oneof(
  hostileWord,
  fc.constantFrom(...ADDRESSES, ...WORDS.types),
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    ['p.one'],
    { toString: 'p.one' },
    { length: 2 },
    JSON.parse('{"__proto__": {"events": ["x.made"]}}')
  )
)
const hostileArgs = fc.oneof(
  fc.array(hostileValue, { maxLength: 4 }),
  hostileValue,
  fc.tuple(hostileWord, fc.constant({}), fc.constant('x.made'))
)

const single: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    do: fc.constant('fetch' as const),
    verb: fc.constantFrom(...WORDS.verbs),
    host: fc.constantFrom(...WORDS.hosts, 'c.example.com')
  }),
  fc.record({
    do: fc.constant('publish' as const),
    type: fc.constantFrom(...WORDS.types, 'z.made'),
    data: fc.constantFrom<object>({}, { tenantId: 'another' }, { sessionId: 'another', payload: 1 })
  }),
  fc.record({ do: fc.constant('model' as const), maxTokens: fc.constantFrom(1, 2, 50, 1_000_000) }),
  fc.record({
    do: fc.constantFrom('read' as const, 'write' as const),
    part: fc.constantFrom('storage' as const, 'files' as const)
  }),
  fc.record({
    do: fc.constant('hostile' as const),
    name: fc.constantFrom('events.publish', 'tools.call', 'model.run', 'toString', '__proto__', 'files.write'),
    args: hostileArgs
  })
)

const { actions } = fc.letrec<{ actions: Action[]; action: Action; call: Action }>((tie) => ({
  actions: fc.array(tie('action'), { maxLength: 3, depthIdentifier: 'calls' }),
  action: fc.oneof({ depthIdentifier: 'calls', depthSize: 'large' }, single, tie('call')),
  call: fc.record({
    do: fc.constant('call' as const),
    address: fc.constantFrom(...ADDRESSES, 't.one'),
    body: tie('actions')
  })
}))

/** A straight way down through up to ten tools, with something to do at its end: depth, and grants worn thin. */
const descent = fc
  .tuple(fc.array(fc.constantFrom(...ADDRESSES), { minLength: 1, maxLength: 10 }), fc.array(single, { maxLength: 3 }))
  .map(([way, end]) => way.reduceRight<Action[]>((body, address) => [{ do: 'call', address, body }], end))

export const Cases: fc.Arbitrary<Case> = fc.record({
  manifests: fc.array(Drawn, { minLength: 4, maxLength: 4 }),
  wanted: fc.array(fc.option(Drawn, { nil: undefined, freq: 2 }), { minLength: 4, maxLength: 4 }),
  missing: fc.oneof(fc.constant<string[]>([]), fc.subarray(ADDRESSES, { maxLength: 2 })),
  program: fc.oneof(actions, descent)
})
