import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { coreMigrations } from '#core/migrations.ts'
import { objectsCheck } from '#core/objects/doctor.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { testDb } from '#test/support/db.ts'

t.test('the line of the objects is red as soon as something stands under no tenant', async (t) => {
  const { db } = await testDb(t, { rooms: [...coreMigrations] })
  const dir = join(t.testdir(), 'objects')
  const store = new FileObjectStore({ dir })
  const check = objectsCheck(store, db)
  t.match(await check.run(), { ok: true, detail: '0 tenants have objects' })
  const { id } = await db.system((tx) => createTenant(tx, { name: 'a', slug: 'a', plan: 'pro' }))
  await store.put(id, Buffer.from('x'))
  await store.put('platform', Buffer.from('x'))
  t.match(await check.run(), { ok: true, detail: '1 tenants have objects' })

  const breaks: [string, () => Promise<unknown>, string][] = [
    [
      'a folder of no tenant',
      () => store.put('01900000-0000-7000-8000-0000000000ff', Buffer.from('x')),
      '01900000-0000-7000-8000-0000000000ff'
    ],
    ['a file at the top', () => writeFile(join(dir, 'notes.txt'), ''), 'notes.txt'],
    ['a folder that is no scope', () => mkdir(join(dir, 'shared')), 'shared'],
    ['a link into another tenant', () => symlink(join(dir, 'platform'), join(dir, id, 'ab')), `${id}/ab`]
  ]
  for (const [what, put, name] of breaks) {
    await put()
    const { detail, fix, ...verdict } = await check.run()
    t.match({ ...check, ...verdict }, { name: 'objects.prefixes', ok: false }, what)
    t.ok(detail.includes(name), detail)
    t.ok(fix)
    await rm(join(dir, name), { recursive: true })
  }
  t.match(await check.run(), { ok: true })
})
