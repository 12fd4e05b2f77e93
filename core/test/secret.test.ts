import { randomBytes } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { scrub } from '#core/scrub.ts'
import { guardForLife, Secret } from '#core/secret.ts'
import { vaultKeys } from '#core/vault/keys.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const random = () => randomBytes(32).toString('base64')

/** Twice 2000 later secrets come and go: finalizers run in no order, and 1024 dead ones are still looked for. */
async function outlived(t: Test): Promise<void> {
  const [control] = comeAndGo(1)
  for (let round = 0; round < 2; round++) {
    const texts = comeAndGo(2000)
    for (let turn = 0; turn < 50 && texts.filter((text) => scrub(text) === '[secret]').length > 1024; turn++) {
      collect()
      await new Promise((resolve) => setImmediate(resolve)) // finalizers run between turns
    }
  }
  t.equal(scrub(String(control)), control, 'what nobody holds is looked for no more')
}

function comeAndGo(count: number): string[] {
  const texts = Array.from({ length: count }, random)
  for (const text of texts) new Secret(text)
  return texts
}

t.test('a secret anywhere in what is guarded for life is masked when 2000 others came and went', async (t) => {
  const [top, nested, listed] = [random(), random(), random()]
  const env = () => {
    const made = {
      top: new Secret(top),
      jwt: { keys: { hmac: new Secret(nested) } },
      list: [{ key: new Secret(listed) }]
    }
    return Object.assign(made, { itself: made, nothing: null, url: new URL('http://127.0.0.1') })
  }
  ;(() => guardForLife(env()))()
  await outlived(t)
  for (const text of [top, nested, listed]) t.equal(scrub(`<${text}>`), '<[secret]>')
})

t.test('the keys of VAULT_KEKS are masked as long as there is a wrapper that uses them', async (t) => {
  const keks = [random(), random()]
  const wrapper = (() => vaultKeys(new Secret(random()), new Secret(`3:${keks[0]},2:${keks[1]}`)).wrapper)()
  await outlived(t)
  for (const kek of keks) {
    t.equal(scrub(kek), '[secret]')
    t.equal(scrub(Buffer.from(kek, 'base64').toString('hex')), '[secret]')
  }
  t.equal(wrapper.current, 3)
})
