import t from 'tap'
import { newId } from '#core/ids.ts'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { type Sandbox, type SandboxCall, SandboxError, type SandboxUsage } from '#sandbox/index.ts'
import { SkillLoader } from '#skills-registry/loader.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { createStorageCapability } from '#skills-registry/tools/capabilities/storage.ts'
import { StorageOptions } from '#skills-registry/tools/capabilities/storage-options.ts'
import { createRunner, type RunDeps } from '#skills-registry/tools/run.ts'

// What a real cell does only at one moment in a thousand: here the sandbox's answer is given by the test.
const r = await registryApp(t)
const acme = await r.makeTenant()
const signed = signedSkill(
  {
    name: '@acme/one',
    manifest: {
      tools: { run: { description: 'd', input: {}, output: {}, effect: 'none' } },
      permissions: { storage: 'write' }
    },
    code: 'export const run = () => 1'
  },
  { author: createKey().key }
)
await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
await r.post(acme, '/v1/skills', { ref: '@acme/one@1.0.0' })
const skills = await r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, ['@acme/one']))
const usage: SandboxUsage = {
  cpuMs: 1,
  wallMs: 1,
  hostCalls: 1,
  generation: 1,
  nth: 0,
  wakes: [],
  replayable: true,
  killed: false
}

function call(answer: (request: SandboxCall) => Promise<string>, more: Partial<RunDeps> & { input?: unknown } = {}) {
  const run = createRunner({
    db: r.db,
    log: { error: () => {} },
    loader: new SkillLoader(r.objects),
    objects: r.objects,
    quarantine: { check: async () => {}, crashed: async () => {} },
    capabilities: [createStorageCapability(StorageOptions.parse({}))],
    sandbox: {
      run: async (request: SandboxCall) => ({ ...usage, output: await answer(request), usage })
    } as Partial<Sandbox> as Sandbox,
    ...more
  })
  const sessionId = newId()
  const skill = skills[0] as PinnedSkill
  const asked = { tenantId: acme.tenantId, sessionId, skill, skills, tool: 'run', step: 's', attempt: 1, time: 1 }
  const { input = {} } = more
  const request = {
    ...asked,
    input,
    effectKey: `${sessionId}/s`,
    seed: 's',
    signal: new AbortController().signal
  }
  return run(request, skill, 'run', input)
}

t.test('a tool that did not wait for a host call which broke has no result, whoever was faster', async (t) => {
  const set = '["key",1]'
  const fine = await call(async ({ onHostCall }) => (await onHostCall?.('storage.set', set, 1)) ?? '')
  t.strictSame(fine.output, { version: 1 })
  const ran = call(async ({ onHostCall, session }) => {
    const { effectKey } = session as { effectKey: string }
    // Another host runs this attempt too, and was first.
    await r.sql`
      insert into tools.host_call (tenant_id, session_id, call_key, n, name, args, ok, answer, landed, digest, time)
      values (${acme.tenantId}, ${effectKey.split('/')[0] ?? ''}, ${`${effectKey}#1`}, 1, 'storage.get', '["key"]', true, 'null', 1, '', 1)`
    await onHostCall?.('storage.set', set, 1)?.catch(() => {})
    return '"done"'
  })
  await t.rejects(ran, { code: 'TOOL_JOURNAL_FAILED', retryable: true, usage: { cpuMs: 1 }, record: { tool: 'run' } })
})

t.test('a crash counts also where the record of its call cannot be kept', async (t) => {
  const crashes: string[] = []
  const quarantine = {
    check: async () => {},
    crashed: async (_: unknown, { error }: { error: SandboxError }) => void crashes.push(error.code)
  }
  const objects = Object.assign(Object.create(r.objects), { put: () => Promise.reject(new Error('no disk')) })
  const killed = async (): Promise<string> => {
    throw Object.assign(new SandboxError('SANDBOX_KILLED', 'killed', { details: { reason: 'cpuMs' } }), { usage })
  }
  await t.rejects(call(killed, { quarantine, objects, input: { text: 'x'.repeat(20_000) } }), { message: 'no disk' })
  t.strictSame(crashes, ['SANDBOX_KILLED'])
})
