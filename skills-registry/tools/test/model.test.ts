import t from 'tap'
import { ModelError, type ModelPort, type ModelRequest } from '#core/ports/model.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import { createModelCapability } from '#skills-registry/tools/capabilities/model.ts'
import type { HostCall, OutsideMethod } from '#skills-registry/tools/capability.ts'

// The provider of models is the outside world here.
function asking(run: ModelPort['run'] | undefined, tokens = 1000) {
  const { methods, names } = createModelCapability({ port: () => run && { run } })
  const model = methods['model.run'] as OutsideMethod<unknown>
  const budget = new CallBudget({ tokens })
  const call = {
    tenantId: 't',
    sessionId: 's',
    step: 'one',
    idempotencyKey: 's/one/1',
    context: { tenantId: 't' },
    signal: new AbortController().signal,
    skill: { name: '@acme/one', version: '1.0.0' },
    permissions: { model: { tokens } },
    budget
  } as unknown as HostCall
  const ask = async (question: unknown) => await model.outside(call, model.args.parse([question]))
  return { ask, budget, call, model, names }
}
const echo: ModelPort['run'] = async ({ messages, maxTokens, model }) => ({
  text: `${messages.at(-1)?.content}!`,
  model: model ?? 'small',
  usage: { inputTokens: 10, outputTokens: Math.min(maxTokens, 30) }
})

t.test('a question reaches the model with what may still be used, and its key', async (t) => {
  const asked: ModelRequest[] = []
  const { ask, budget } = asking(async (request) => {
    asked.push(request)
    return await echo(request)
  })
  const answer = { text: 'hello!', model: 'small', usage: { inputTokens: 10, outputTokens: 30 } }
  t.strictSame(await ask({ prompt: 'hello' }), answer)
  t.match(asked[0], { tenantId: 't', sessionId: 's', idempotencyKey: 's/one/1', maxTokens: 998 })
  t.notOk('model' in (asked[0] as object))
  const messages = [
    { role: 'system', content: 'be short' },
    { role: 'user', content: 'again' }
  ]
  t.match(await ask({ messages, model: 'large', maxTokens: 7 }), { text: 'again!', model: 'large' })
  t.match(asked[1], { messages, model: 'large', maxTokens: 7 })
  t.equal(budget.tokens, 57)
  t.equal(budget.tokensLeft, 943)
})

t.test('where the tokens are used up nothing is asked any more', async (t) => {
  let asked = 0
  const { ask } = asking(async (request) => {
    asked += 1
    return await echo(request)
  }, 50)
  t.match(await ask({ prompt: 'one', maxTokens: 5000 }), { usage: { outputTokens: 30 } })
  t.match(await ask({ prompt: 'two' }), { usage: { outputTokens: 9 } })
  await t.rejects(ask({ prompt: 'three' }), { code: 'MODEL_BUDGET' })
  t.equal(asked, 2)
  await t.rejects(asking(echo, 20).ask({ prompt: 'x'.repeat(80) }), { code: 'MODEL_BUDGET', message: /about 20/ })
})

t.test('questions at the same time cannot spend the same tokens', async (t) => {
  const most: number[] = []
  const { ask, budget } = asking(async (request) => {
    most.push(request.maxTokens)
    return await echo(request)
  }, 100)
  const ends = await Promise.allSettled([1, 2, 3].map(() => ask({ prompt: 'abcd', maxTokens: 60 })))
  t.strictSame(most, [60, 38], 'a token for the question, sixty for its answer, and then what is left')
  t.strictSame(
    ends.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected']
  )
  t.equal(budget.tokens, 80)
})

t.test('a failed question costs what it used, and is told by its code', async (t) => {
  const usage = { inputTokens: 20, outputTokens: 5 }
  const refused = asking(async () => {
    throw new ModelError('MODEL_REFUSED', 'the model does not answer this', { usage, cause: new Error('inner') })
  })
  await t.rejects(refused.ask({ prompt: 'x' }), { name: 'CapabilityError', code: 'MODEL_REFUSED' })
  t.equal(refused.budget.tokens, 25)
  const broken = asking(async () => {
    throw new Error('a stack and a path')
  })
  await t.rejects(broken.ask({ prompt: 'x' }), { message: 'a stack and a path' }, 'the host logs it and tells nobody')
  t.equal(broken.budget.tokens, 0)
  t.equal(broken.budget.tokensLeft, 1000, 'what was set aside is there again')
  await t.rejects(asking(undefined).ask({ prompt: 'x' }), { code: 'MODEL_UNAVAILABLE' })
})

t.test('a question is either a prompt or messages, and nothing else', async (t) => {
  const { model, names } = asking(echo)
  const user = { role: 'user', content: 'x' }
  const wrong = [
    ...[undefined, null, 'prompt', {}, { prompt: '' }, { prompt: 1 }, { messages: [] }, { messages: 'x' }],
    ...[
      { prompt: 'x', messages: [user] },
      { prompt: 'x', maxTokens: 0 },
      { prompt: 'x', maxTokens: 1.5 }
    ],
    ...[{ prompt: 'x', temperature: 2 }, { messages: [{ ...user, role: 'tool' }] }, { messages: [{ ...user, x: 1 }] }]
  ]
  for (const question of wrong) t.notOk(model.args.safeParse([question]).success, JSON.stringify(question))
  t.notOk(model.args.safeParse([]).success)
  t.strictSame([names({}), names({ model: { tokens: 1 } })], [[], ['model.run']])
})

t.test('the audit entry says how much was asked, never what', async (t) => {
  const { model, call } = asking(echo)
  const args = model.args.parse([{ prompt: 'a secret plan' }])
  const entry = model.audit?.(call, args, await model.outside(call, args))
  t.match(entry, { action: 'tool.model_asked', subject: 'session:s', details: { model: 'small', inputTokens: 10 } })
  t.notMatch(JSON.stringify(entry), /secret plan/)
})
