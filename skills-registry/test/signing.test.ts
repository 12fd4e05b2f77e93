import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { addSignature, pae, signEnvelope } from '#skills-registry/signing/dsse.ts'
import {
  createKey,
  createKeyFile,
  loadKeyFile,
  loadOrCreateKeyFile,
  publicKeyFrom
} from '#skills-registry/signing/keys.ts'
import { makeStatement } from '#skills-registry/signing/statement.ts'
import { verifyBundle } from '#skills-registry/signing/verify.ts'
import { bytes, signedSkill } from './support/packages.ts'

t.test("the encoding that is signed is the one of DSSE's own specification", (t) => {
  const text = (type: string, body: string) => Buffer.from(pae(type, bytes(body))).toString()
  t.equal(
    text('http://example.com/HelloWorld', 'hello world'),
    'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
  )
  t.equal(text('', ''), 'DSSEv1 0  0 ')
  t.equal(text('application/vnd.x+json', 'hi'), 'DSSEv1 22 application/vnd.x+json 2 hi')
  t.equal(text('t', 'é'), 'DSSEv1 1 t 2 é') // lengths are bytes
  t.end()
})

t.test('ed25519 is that of RFC 8032, test 3', (t) => {
  const raw = 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'
  const key = publicKeyFrom(Buffer.from(`302a300506032b6570032100${raw}`, 'hex').toString('base64'))
  const signature = Buffer.from(
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    'hex'
  )
  t.ok(key.verify(Buffer.from('af82', 'hex'), signature))
  t.notOk(key.verify(Buffer.from('af83', 'hex'), signature))
  t.notOk(key.verify(Buffer.from('af82', 'hex'), signature.subarray(1)))
  t.end()
})

t.test('a key file is made once, for its owner alone', async (t) => {
  const file = join(t.testdir(), 'keys/author.pem')
  const keys = await Promise.all(Array.from({ length: 5 }, () => loadOrCreateKeyFile(file)))
  t.equal(new Set(keys.map((key) => key.keyId)).size, 1)
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.equal((await loadKeyFile(file)).keyId, keys[0]?.keyId)
  await t.rejects(createKeyFile(file), { code: 'EEXIST' })
})

t.test('a key file that others may read, or that is none, is not used', async (t) => {
  const folder = t.testdir()
  await writeFile(join(folder, 'open.pem'), createKey().pem, { mode: 0o644 })
  await t.rejects(loadKeyFile(join(folder, 'open.pem')), { code: 'SKILLS_KEY_FILE_MODE', kind: 'trust' })
  await writeFile(join(folder, 'bad.pem'), 'not a key', { mode: 0o600 })
  await t.rejects(loadKeyFile(join(folder, 'bad.pem')), { code: 'SKILLS_KEY_INVALID' })
})

t.test('what author and registry signed is accepted, and says who they were', (t) => {
  const s = signedSkill()
  const verified = verifyBundle(s.archive, s.bundle, { roots: [s.registry.spki], registrySignature: 'required' })
  t.equal(verified.authorKeyId, s.author.keyId)
  t.equal(verified.registryKeyId, s.registry.keyId)
  t.equal(verified.package.manifest.name, '@acme/echo')
  t.equal(verified.statement.subject[0].name, 'skill:@acme/echo@1.0.0')
  const first = verifyBundle(s.archive, s.authorBundle, { roots: [], registrySignature: 'optional' })
  t.equal(first.registryKeyId, undefined)
  t.end()
})

t.test('wrong bytes and missing trust are told apart', (t) => {
  const s = signedSkill()
  const required = { roots: [s.registry.spki], registrySignature: 'required' } as const
  const stranger = { roots: [createKey().key.spki], registrySignature: 'required' } as const
  const trust = (code: string) => ({ code, kind: 'trust' })
  t.throws(() => verifyBundle(s.archive, s.authorBundle, required), trust('SKILLS_REGISTRY_SIGNATURE_MISSING'))
  t.throws(() => verifyBundle(s.archive, s.bundle, stranger), trust('SKILLS_SIGNER_UNTRUSTED'))
  t.throws(
    () => verifyBundle(s.archive, s.bundle, { roots: [], registrySignature: 'optional' }),
    trust('SKILLS_SIGNER_UNTRUSTED')
  )
  const other = signedSkill({ code: 'export const echo = () => 1\n' }, s)
  t.throws(() => verifyBundle(other.archive, s.bundle, required), { code: 'SKILLS_ARCHIVE_DIGEST', kind: 'bytes' })
  t.end()
})

t.test('each thing that a statement says is held to the archive', (t) => {
  const s = signedSkill()
  const right = makeStatement(s.package, s.author, { createdAt: '2026-11-22T00:00:00.000Z' })
  const zeros = '0'.repeat(64)
  const signed = (statement: object, key = s.author) => {
    const envelope = addSignature(signEnvelope(bytes(JSON.stringify(statement)), key), s.registry)
    return JSON.stringify({ format: 1, publish: envelope, roots: [] })
  }
  const predicate = (change: object) => ({ ...right, predicate: { ...right.predicate, ...change } })
  const [first, ...rest] = right.predicate.files
  const cases: [string, object][] = [
    ['SKILLS_ARCHIVE_DIGEST', { ...right, subject: [{ ...right.subject[0], digest: { sha256: zeros } }] }],
    ['SKILLS_SUBJECT', { ...right, subject: [{ ...right.subject[0], name: 'skill:@acme/echo@1.0.1' }] }],
    ['SKILLS_SUBJECT', { ...right, subject: [{ ...right.subject[0], name: 'skill:@acme/other@1.0.0' }] }],
    ['SKILLS_STATEMENT_INVALID', { ...right, predicateType: 'https://agentos.dev/skill-verdict/v1' }],
    ['SKILLS_STATEMENT_INVALID', { ...right, _type: 'https://in-toto.io/Statement/v0.1' }],
    ['SKILLS_STATEMENT_INVALID', { ...right, more: 1 }],
    ['SKILLS_STATEMENT_INVALID', { ...right, subject: [] }],
    ['SKILLS_STATEMENT_INVALID', { ...right, subject: [right.subject[0], right.subject[0]] }],
    ['SKILLS_MANIFEST_DIGEST', predicate({ manifestDigest: `sha256:${zeros}` })],
    ['SKILLS_PERMISSIONS_DIGEST', predicate({ permissionsDigest: `sha256:${zeros}` })],
    ['SKILLS_FILE_LIST', predicate({ files: rest })],
    ['SKILLS_FILE_LIST', predicate({ files: [...right.predicate.files, { ...first, path: 'zz' }] })],
    ['SKILLS_FILE_LIST', predicate({ files: [...right.predicate.files].reverse() })],
    ['SKILLS_FILE_DIGEST', predicate({ files: [{ ...first, sha256: zeros }, ...rest] })],
    ['SKILLS_FILE_DIGEST', predicate({ files: [{ ...first, size: 1 }, ...rest] })],
    ['SKILLS_AUTHOR_KEY_MISMATCH', predicate({ authorKeyId: zeros })],
    ['SKILLS_KEY_INVALID', predicate({ authorPublicKey: 'AAAA' })]
  ]
  const trust = { roots: [s.registry.spki], registrySignature: 'required' } as const
  t.ok(verifyBundle(s.archive, signed(right), trust))
  for (const [code, statement] of cases)
    t.throws(() => verifyBundle(s.archive, signed(statement), trust), { code }, code)
  t.throws(() => verifyBundle(s.archive, signed(right, createKey().key), trust), { code: 'SKILLS_SIGNER_UNTRUSTED' })
  t.end()
})

t.test('a bundle is refused when its envelope is another than the one that was signed', (t) => {
  const s = signedSkill()
  const trust = { roots: [s.registry.spki], registrySignature: 'required' } as const
  const bundle = JSON.parse(s.bundle)
  const { publish } = bundle
  const [author, registry] = publish.signatures
  const other = JSON.parse(signedSkill({ version: '2.0.0' }, s).bundle).publish
  const envelope = (change: object) => ({ ...bundle, publish: { ...publish, ...change } })
  const cases: [string, unknown][] = [
    ['SKILLS_BUNDLE_UNSUPPORTED', { ...bundle, format: 2 }],
    ['SKILLS_BUNDLE_UNSUPPORTED', { ...bundle, verdict: publish }],
    ['SKILLS_BUNDLE_UNSUPPORTED', { ...bundle, checkpoint: 'note' }],
    ['SKILLS_BUNDLE_UNSUPPORTED', { ...bundle, inclusion: { index: 0, hashes: [] } }],
    ['SKILLS_BUNDLE_INVALID', { ...bundle, format: '1' }],
    ['SKILLS_BUNDLE_INVALID', { ...bundle, extra: 1 }],
    ['SKILLS_BUNDLE_INVALID', null],
    ['SKILLS_BUNDLE_INVALID', []],
    ['SKILLS_BUNDLE_INVALID', envelope({ payload: `${publish.payload} ` })],
    ['SKILLS_BUNDLE_INVALID', envelope({ signatures: [{ ...author, sig: `${author.sig}=` }, registry] })],
    ['SKILLS_PAYLOAD_TYPE', envelope({ payloadType: 'application/json' })],
    ['SKILLS_AUTHOR_SIGNATURE_MISSING', envelope({ signatures: [registry] })],
    ['SKILLS_AUTHOR_SIGNATURE_MISSING', { ...envelope({ signatures: [] }), roots: [] }],
    ['SKILLS_REGISTRY_SIGNATURE_MISSING', { ...envelope({ signatures: [author] }), roots: [] }],
    ['SKILLS_SIGNATURE_REPEATED', envelope({ signatures: [author, registry, registry] })],
    ['SKILLS_AUTHOR_SIGNATURE_INVALID', envelope({ signatures: [{ ...author, sig: registry.sig }, registry] })],
    ['SKILLS_REGISTRY_SIGNATURE_INVALID', envelope({ signatures: [author, { ...registry, sig: author.sig }] })],
    ['SKILLS_AUTHOR_SIGNATURE_INVALID', envelope({ payload: other.payload })],
    ['SKILLS_ARCHIVE_DIGEST', { ...bundle, publish: other }],
    ['SKILLS_BUNDLE_ROOT_INVALID', { ...bundle, roots: [{ ...bundle.roots[0], keyId: '0'.repeat(64) }] }],
    ['SKILLS_BUNDLE_ROOT_INVALID', { ...bundle, roots: [{ ...bundle.roots[0], publicKey: s.author.spki }] }]
  ]
  for (const [code, value] of cases) {
    t.throws(() => verifyBundle(s.archive, JSON.stringify(value), trust), { code }, code)
  }
  t.throws(() => verifyBundle(s.archive, '{"format":1,', trust), { code: 'SKILLS_BUNDLE_INVALID' })
  t.throws(() => verifyBundle(s.archive, `{"__proto__":{},${s.bundle.slice(1)}`, trust), {
    code: 'SKILLS_BUNDLE_INVALID'
  })
  t.end()
})

t.test('hosts that share a seed share a key, whichever of them writes it down', async (t) => {
  const seed = Buffer.alloc(32, 7)
  const [a, b] = [`${t.testdir()}/a.key`, `${t.testdir()}/b.key`]
  const [one, two, again] = [
    await loadOrCreateKeyFile(a, seed),
    await loadOrCreateKeyFile(b, seed),
    await loadOrCreateKeyFile(a)
  ]
  t.equal(one.keyId, two.keyId)
  t.equal(one.keyId, again.keyId)
  t.ok(two.verify(Buffer.from('x'), one.sign(Buffer.from('x'))))
  t.not(createKey().key.keyId, createKey().key.keyId)
})
