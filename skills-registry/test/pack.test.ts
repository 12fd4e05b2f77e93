import { chmod, mkdir, mkdtemp, symlink, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { pack, packFolder } from '#skills-registry/package/pack.ts'
import { moduleSources, readPackage } from '#skills-registry/package/read.ts'
import { bytes, skillFiles } from './support/packages.ts'

async function writeFolder(folder: string, files: Iterable<[string, Uint8Array]>) {
  for (const [path, content] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), content)
  }
}

const files = skillFiles({ extra: { 'dist/b.js': 'export const b = 1\n', 'assets/a.txt': 'a', LICENSE: 'free' } })

t.test('the same files give the same bytes in any order, with any mode and time', async (t) => {
  const first = join(t.testdir(), 'first')
  const second = join(t.testdir({}), 'second')
  await writeFolder(first, files)
  await writeFolder(second, [...files].reverse())
  for (const path of files.keys()) {
    await chmod(join(second, path), 0o755)
    await utimes(join(second, path), 1, 1)
  }
  const a = await packFolder(first)
  const b = await packFolder(second)
  t.ok(Buffer.compare(a.archive, b.archive) === 0)
  t.ok(Buffer.compare(a.archive, pack(new Map([...files].reverse())).archive) === 0)
  t.equal(a.package.digest, b.package.digest)
})

t.test('the bytes of a known package are the same on every machine', (t) => {
  // A golden digest: it changes only when the format (or fflate) does, and then every author's digest changes with it.
  t.equal(pack(skillFiles()).package.digest, 'sha256:d7c7dfdc95b27859ce5a37cabc8464b249d37bd828e15ed929e65da3f685a065')
  t.end()
})

t.test('what was packed is read back, and any gunzip can open it', (t) => {
  const { archive } = pack(files)
  const skill = readPackage(archive)
  t.strictSame([...skill.files.keys()], [...files.keys()].sort())
  for (const [path, content] of files) t.strictSame(Buffer.from(skill.files.get(path) ?? ''), Buffer.from(content))
  t.equal(gunzipSync(archive).length % 512, 0)
  t.strictSame([...moduleSources(skill.files).keys()], ['dist/b.js', 'dist/index.js'])
  const mapped = pack(new Map([...files, ['dist/b.js.map', Buffer.from('{}')], ['dist/notes.json', Buffer.from('{}')]]))
  const given = [...moduleSources(readPackage(mapped.archive).files).keys()]
  t.strictSame(given, ['dist/b.js', 'dist/b.js.map', 'dist/index.js'], 'with the source maps, and nothing else')
  t.end()
})

t.test('only what belongs to a skill is packed: a forgotten .env and a test folder stay at home', async (t) => {
  const folder = t.testdir({ '.env': 'SECRET=1', test: { 'a.test.ts': '' }, 'notes.txt': 'mine' })
  await writeFolder(folder, files)
  const packed = await packFolder(folder)
  t.strictSame([...packed.package.files.keys()], [...files.keys()].sort())
})

t.test('a link in the folder is refused, since it may lead out of it', async (t) => {
  const folder = t.testdir({ secret: 'x' })
  await writeFolder(folder, files)
  await symlink('../secret', join(folder, 'dist/link.js'))
  await t.rejects(packFolder(folder), { code: 'SKILLS_PACKAGE_TAR_LINK' })
})

t.test('a folder that a registry would refuse is not packed', async (t) => {
  const folder = await mkdtemp(join(t.testdir(), 'x-'))
  await writeFolder(folder, [...files, ['dist/Odd Name.js', bytes('')]])
  await t.rejects(packFolder(folder), { code: 'SKILLS_PACKAGE_PATH' })
})
