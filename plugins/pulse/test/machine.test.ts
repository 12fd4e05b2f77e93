import { readFileSync } from 'node:fs'
import t from 'tap'
import { getNextTransitions, transition } from 'xstate'
import { sessionKind, wants } from '../kind.ts'
import { INITIAL, type SessionContext, sessionMachine } from '../machine.ts'
import { SessionConfig, STATES } from '../schema.ts'

const spec = JSON.parse(readFileSync(new URL('../../../docs/spec/session-machine.json', import.meta.url), 'utf8')) as {
  initial: string
  final: string[]
  drawn: [string, string][]
  added: { from: string; to: string }[]
}

const config = SessionConfig.parse({ steps: [{ id: 'one', kind: 'tool', tool: 'host.one' }] })
const context: SessionContext = { ...INITIAL, plan: { config, skills: [], durationMs: null } }

/** Every arrow of the machine's graph between two states, each event and guard taken as possible. */
function arrowsOfMachine(): Set<string> {
  const arrows = new Set<string>()
  for (const state of Object.keys(sessionMachine.states)) {
    const snapshot = sessionMachine.resolveState({ value: state, context })
    for (const definition of getNextTransitions(snapshot)) {
      for (const target of definition.target ?? []) if (target.key !== state) arrows.add(`${state} -> ${target.key}`)
    }
  }
  return arrows
}

t.test('the machine has exactly the states and arrows of the specification', async (t) => {
  const wanted = new Set([
    ...spec.drawn.map(([from, to]) => `${from} -> ${to}`),
    ...spec.added.map(({ from, to }) => `${from} -> ${to}`)
  ])
  t.strictSame([...arrowsOfMachine()].sort(), [...wanted].sort())
  const states = new Set([...wanted].flatMap((arrow) => arrow.split(' -> ')))
  t.strictSame(Object.keys(sessionMachine.states).sort(), [...states].sort())
  t.strictSame([...STATES].sort(), [...states].sort())
  t.equal(sessionMachine.config.initial, spec.initial)
  t.strictSame([...sessionKind.finals].sort(), [...spec.final].sort())
})

t.test(
  'the machine has no invoke, spawn, delay or eventless arrow: a restored session would repeat or lose them',
  async (t) => {
    const text = JSON.stringify(sessionMachine.config)
    for (const word of ['invoke', 'after', 'always', 'spawn', 'delay']) t.notMatch(text, new RegExp(`"${word}"`))
  }
)

t.test('the arrows that a granted slot makes in SQL are the machine’s own', async (t) => {
  for (const [from, { to, event }] of Object.entries(sessionKind.grants ?? {})) {
    const snapshot = sessionMachine.resolveState({ value: from, context })
    const [next] = transition(sessionMachine, snapshot, { type: event } as never)
    t.equal(String(next.value), to, `${from} --${event}--> ${to}`)
  }
})

t.test(
  'what a state wants follows from state and context alone, also after the context went through JSON',
  async (t) => {
    for (const [state, want] of Object.entries(wants)) {
      const restored = JSON.parse(JSON.stringify(context)) as SessionContext
      t.strictSame(want(restored), want(context), state)
    }
  }
)
