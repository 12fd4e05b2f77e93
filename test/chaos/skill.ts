import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { publishFolder } from '#skills-registry/publish-folder.ts'
import { once } from './client.ts'
import type { Tenant, World } from './world.ts'

const integer = { type: 'integer' }
const manifest = {
  name: '@chaos/count',
  version: '1.0.0',
  description: 'Counts one further.',
  entry: 'dist/index.js',
  tools: {
    count: {
      description: 'Gives n + 1.',
      input: { type: 'object', properties: { n: integer }, required: ['n'], additionalProperties: false },
      output: { type: 'object', properties: { n: integer }, required: ['n'], additionalProperties: false },
      effect: 'none'
    }
  },
  permissions: {},
  limits: { cpuMs: 5000, wallMs: 10000, memoryMb: 64, hostCalls: 10 },
  dependencies: {}
}
const files: Record<string, string> = {
  'skill.json': JSON.stringify(manifest, null, 2),
  'SKILL.md': '---\nname: count\ndescription: Counts one further.\n---\n\n# Count\n\nCall `count` with `{"n": 1}`.\n',
  'dist/index.js': 'export const count = ({ n }) => ({ n: n + 1 })\n'
}

/** Publishes the counting skill as a stranger would, installs it for every tenant, and gives all hosts one registry key. */
export async function installCounter(
  world: World,
  hosts: readonly string[],
  tenants: readonly Tenant[]
): Promise<void> {
  const folder = join(world.dir, 'count')
  await mkdir(join(folder, 'dist'), { recursive: true })
  for (const [path, text] of Object.entries(files)) await writeFile(join(folder, path), text)
  const { archive, bundle } = await publishFolder({ folder, authorKeyFile: join(world.dir, 'author.key') })

  const [first = '', ...others] = hosts
  const host = world.spawn(first)
  const url = await host.ready
  const [author] = tenants
  const form = new FormData()
  form.append('package', new Blob([Uint8Array.from(archive)], { type: 'application/gzip' }), 'count.skill')
  form.append('bundle', new Blob([bundle], { type: 'application/json' }), 'count.skill.bundle.json')
  const published = await fetch(`${url}/v1/registry/skills`, {
    method: 'POST',
    headers: { authorization: `Bearer ${author?.key}` },
    body: form
  })
  if (!published.ok) throw new Error(`not published: ${await published.text()}`)
  for (const tenant of tenants) {
    const installed = await once(url, tenant, 'POST', '/v1/skills', { ref: '@chaos/count@^1' })
    if (installed?.status !== 201 && installed?.status !== 200) throw new Error(JSON.stringify(installed))
  }
  await host.kill()
  // One installation has one registry key, whichever of its hosts counter-signs.
  for (const name of others) {
    await mkdir(world.home(name), { recursive: true, mode: 0o700 })
    await copyFile(join(world.home(first), 'registry.key'), join(world.home(name), 'registry.key'))
  }
}
