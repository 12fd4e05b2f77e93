import { join } from 'node:path'
import type { Test } from 'tap'
import { type Bus, createBus } from '#core/bus/index.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { Ports } from '#core/ports/ports.ts'
import type { ToolsPort } from '#core/ports/tools.ts'
import skillsRegistry from '#skills-registry/index.ts'
import tools from '#skills-registry/tools/index.ts'
import { type TestApp, type TestTenant, testApp } from '#test/support/app.ts'

export interface RegistryApp extends TestApp {
  bus: Bus
  ports: Ports
  tools: ToolsPort
  objects: FileObjectStore
  /** Where the packages lie. */
  objectsDir: string
  publish(
    who: TestTenant,
    signed: { archive: Uint8Array; bundle: string },
    headers?: Record<string, string>
  ): Promise<Answer>
  post(who: TestTenant, url: string, payload: object, headers?: Record<string, string>): Promise<Answer>
  get(who: TestTenant, url: string): Promise<Answer>
}

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field
  body: any
  headers: Record<string, unknown>
  raw: Buffer
}

/** The real app with the registry in it: its own database, object folder and key. */
export async function registryApp(t: Test): Promise<RegistryApp> {
  const dir = t.testdir()
  const objectsDir = join(dir, 'objects')
  const objects = new FileObjectStore({ dir: objectsDir })
  const ports = new Ports()
  let bus: Bus | undefined
  const base = await testApp(t, {
    rooms: [{ room: skillsRegistry, options: { keyFile: join(dir, 'registry.pem') } }, { room: tools }],
    parts: ({ db }) => {
      bus = createBus({ db })
      return { bus, objects, ports }
    }
  })
  if (!bus) throw new Error('the bus is missing')

  const answer = async (options: object): Promise<Answer> => {
    const { statusCode, headers, rawPayload } = await base.app.inject(options)
    const isJson = /json/.test(String(headers['content-type']))
    return {
      status: statusCode,
      headers,
      raw: rawPayload,
      body: isJson ? JSON.parse(rawPayload.toString()) : undefined
    }
  }
  return {
    ...base,
    bus,
    ports,
    objects,
    objectsDir,
    tools: ports.get('tools'),
    publish: (who, { archive, bundle }, headers = {}) => {
      const form = uploadForm([
        ['package', archive],
        ['bundle', bundle]
      ])
      return answer({
        method: 'POST',
        url: '/v1/registry/skills',
        payload: form.payload,
        headers: { ...who.headers, ...form.headers, ...headers }
      })
    },
    post: (who, url, payload, headers = {}) =>
      answer({ method: 'POST', url, payload, headers: { ...who.headers, ...headers } }),
    get: (who, url) => answer({ method: 'GET', url, headers: who.headers })
  }
}

export function uploadForm(parts: [string, Uint8Array | string][]): {
  payload: Buffer
  headers: Record<string, string>
} {
  const boundary = 'a-boundary-that-is-in-no-package'
  const chunks = parts.flatMap(([name, content]) => [
    `--${boundary}\r\ncontent-disposition: form-data; name="${name}"; filename="${name}"\r\n` +
      'content-type: application/octet-stream\r\n\r\n',
    content,
    '\r\n'
  ])
  const payload = Buffer.concat([...chunks, `--${boundary}--\r\n`].map((chunk) => Buffer.from(chunk)))
  return { payload, headers: { 'content-type': `multipart/form-data; boundary=${boundary}` } }
}
