import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'
import type { AuditEntry } from '#core/audit/audit.ts'
import type { PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import type { FetchAnswer } from '#skills-registry/tools/capabilities/fetch/arguments.ts'
import { createFetchCapability, type FetchDeps } from '#skills-registry/tools/capabilities/fetch/index.ts'
import { CapabilityError, type HostCall, type OutsideMethod } from '#skills-registry/tools/capability.ts'
import { type TestApp, type TestTenant, testApp } from '#test/support/app.ts'

// For api, other and plain.example.com, until 2126; a key that guards nothing (openssl req, ca -selfsign).
const pem = (name: string) => readFileSync(new URL(`../fixtures/fetch-${name}.pem`, import.meta.url), 'utf8')

export interface Seen {
  method: string
  url: string
  headers: IncomingMessage['headers']
  rawHeaders: string[]
  body: Buffer
}

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown

export interface FetchWorld extends TestApp {
  acme: TestTenant
  server: Server
  port: number
  /** By path. */
  on(path: string, handler: Handler): void
  seen: Seen[]
  /** Connections that the server got, living and dead. */
  sockets: Socket[]
  /** Host names that were asked for. */
  asked: string[]
  /** What DNS says from now on; each call of a function is one query. */
  dns(answer: string[] | ((host: string, signal: AbortSignal) => string[] | Promise<string[]>)): void
  /** @returns the answer and its audit entry */
  fetch(request: object, more?: More): Promise<FetchAnswer & { entry: AuditEntry }>
  /** @returns code and message of the refusal */
  refused(request: object, more?: More): Promise<{ code: string; message: string }>
}

export interface More {
  permissions?: Permissions
  skill?: string
  /** Skills above it. */
  callers?: string[]
  n?: number
  signal?: AbortSignal
  deps?: Partial<FetchDeps>
}

const everything: Permissions = {
  fetch: ['api', 'other', 'plain'].map((name) => ({
    host: `${name}.example.com`,
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
  }))
}

export const answer =
  (headers: Record<string, string | string[]>, body: Uint8Array | string = '', status = 200) =>
  (_: unknown, response: ServerResponse) =>
    response.writeHead(status, headers).end(body)

/** A real TLS server on loopback, which is opened for this capability, and DNS as the test says. */
export async function fetchWorld(t: Test): Promise<FetchWorld> {
  const base = await testApp(t)
  const acme = await base.makeTenant()
  const handlers = new Map<string, Handler>()
  const seen: Seen[] = []
  const sockets: Socket[] = []
  const asked: string[] = []
  let answers: Parameters<FetchWorld['dns']>[0] = ['127.0.0.1']
  const server = createServer(
    { key: pem('key'), cert: pem('cert'), maxHeaderSize: 64 * 1024 },
    async (request, response) => {
      const { method = '', url = '', headers, rawHeaders } = request
      const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
      seen.push({ method, url, headers, rawHeaders, body })
      const handler = handlers.get(url.split('?')[0] ?? '')
      if (handler) handler(request, response, body)
      else response.end('hello')
    }
  )
  server.on('connection', (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  t.beforeEach(() => {
    seen.length = 0
    sockets.length = 0
    asked.length = 0
    answers = ['127.0.0.1']
  })

  const call = (more: More): HostCall => {
    const { n = 1 } = more
    return {
      tenantId: acme.tenantId,
      sessionId: '01900000-0000-7000-8000-000000000001',
      step: 's',
      attempt: 2,
      effectKey: 'session/s',
      key: `session/s#2/${n}`,
      idempotencyKey: `session/s/${n}`,
      n,
      skill: { name: more.skill ?? '@acme/one', version: '1.0.0' } as PinnedSkill,
      permissions: more.permissions ?? everything,
      context: { tenantId: acme.tenantId, actor: { kind: 'skill', id: '@acme/one' } },
      signal: more.signal ?? new AbortController().signal,
      call: {} as ToolCall,
      callers: more.callers ?? [],
      chain: ['one.run'],
      budget: new CallBudget({ tokens: 0 }),
      nested: () => {}
    }
  }
  const fetch: FetchWorld['fetch'] = async (request, more = {}) => {
    const capability = createFetchCapability({
      clock: base.clock,
      db: base.db,
      secrets: () => base.app.vault,
      resolve: async (host, signal) => {
        asked.push(host)
        return typeof answers === 'function' ? await answers(host, signal) : answers
      },
      connect: { port, ca: pem('cert') },
      allowAddresses: ['127.0.0.1/32'],
      ...more.deps
    })
    const method = capability.methods.fetch as OutsideMethod<unknown>
    const host = call(more)
    const parsed = method.args.safeParse([request])
    if (!parsed.success) throw new CapabilityError('ARGUMENTS_INVALID', String(parsed.error.issues[0]?.message))
    const answer = (await method.outside(host, parsed.data)) as FetchAnswer
    return { ...answer, entry: method.audit?.(host, parsed.data, answer) as AuditEntry }
  }
  return {
    ...base,
    acme,
    server,
    port,
    seen,
    sockets,
    asked,
    on: (path, handler) => void handlers.set(path, handler),
    dns: (answer) => {
      answers = answer
    },
    fetch,
    refused: async (request, more = {}) => {
      try {
        const { status, url } = await fetch(request, more)
        return { code: 'answered', message: `${status} by ${url}` }
      } catch (error) {
        if (!(error instanceof CapabilityError)) throw error
        const { code, message } = error
        return { code, message }
      }
    }
  }
}
