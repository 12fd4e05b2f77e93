import { z } from 'zod'
import { ModelError, type ModelMessage, type ModelPort } from '#core/ports/model.ts'
import { type Capability, CapabilityError, type HostCall, method } from '../capability.ts'

/** Of an answer, where the tool does not say. */
const DEFAULT_MAX_TOKENS = 4096
/** UTF-8 bytes of a token, about: only for what is set aside before the provider has counted. */
const BYTES_PER_TOKEN = 4

const Message = z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string().min(1) })
const Question = z
  .strictObject({
    prompt: z.string().min(1).optional(),
    messages: z.array(Message).min(1).max(256).optional(),
    model: z.string().min(1).max(128).optional(),
    maxTokens: z.int().min(1).max(1_000_000).optional()
  })
  .refine(({ prompt, messages }) => (prompt === undefined) !== (messages === undefined), {
    message: 'needs either prompt or messages'
  })
const RunArguments = z.tuple([Question])

/** @param port asked at call time, so that boot order does not matter; undefined where no room provides it */
export function createModelCapability({ port }: { port: () => ModelPort | undefined }): Capability {
  return {
    name: 'model',
    names: ({ model }) => (model ? ['model.run'] : []),
    methods: {
      'model.run': method<z.output<typeof RunArguments>>({
        args: RunArguments,
        async outside(call, [question]) {
          const { prompt = '', model, maxTokens = DEFAULT_MAX_TOKENS } = question
          const messages: ModelMessage[] = question.messages ?? [{ role: 'user', content: prompt }]
          if (!call.permissions.model) throw new CapabilityError('CAPABILITY_DENIED', 'ctx.model.run: not granted')
          const provider = port()
          if (!provider) throw new CapabilityError('MODEL_UNAVAILABLE', 'this server offers skills no model')
          return await ask(provider, call, { messages, model, maxTokens })
        },
        // How often and how much, never what: prompts are the tenant's data.
        audit: ({ sessionId, step, skill }, _args, answer) => {
          const { model, usage } = answer as Awaited<ReturnType<ModelPort['run']>>
          const details = { skill: skill.name, version: skill.version, step, model, ...usage }
          return { action: 'tool.model_asked', subject: `session:${sessionId}`, details }
        }
      })
    }
  }
}

async function ask(
  provider: ModelPort,
  { tenantId, sessionId, context, idempotencyKey, signal, budget }: HostCall,
  { messages, model, maxTokens }: { messages: ModelMessage[]; model: string | undefined; maxTokens: number }
) {
  const bytes = messages.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0)
  const { answer, settle } = budget.reserveTokens(Math.ceil(bytes / BYTES_PER_TOKEN), maxTokens)
  let used = 0
  try {
    const said = await provider.run({
      tenantId,
      sessionId,
      context,
      messages,
      ...(model === undefined ? {} : { model }),
      maxTokens: answer,
      idempotencyKey,
      signal
    })
    used = said.usage.inputTokens + said.usage.outputTokens
    const { inputTokens, outputTokens } = said.usage
    return { text: said.text, model: said.model, usage: { inputTokens, outputTokens } }
  } catch (error) {
    if (!(error instanceof ModelError)) throw error
    used = (error.usage?.inputTokens ?? 0) + (error.usage?.outputTokens ?? 0)
    throw new CapabilityError(error.code, error.message)
  } finally {
    settle(used)
  }
}
