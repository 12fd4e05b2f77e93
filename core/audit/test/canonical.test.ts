import t from 'tap'
import { canonicalJson, digestOf } from '#core/audit/canonical.ts'
import { Secret } from '#core/secret.ts'

t.test('canonical JSON is the spelling of RFC 8785', async (t) => {
  // The example of RFC 8785, 3.2.2.
  const sample = JSON.parse(
    '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
  )
  t.equal(
    canonicalJson(sample),
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
  )
  // 3.2.3: keys are sorted by their UTF-16 units, so the pair of U+1F600 stands before U+FB33.
  const keys = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }
  t.strictSame(Object.values(JSON.parse(canonicalJson(keys).replace('"1"', '"x1"'))), [2, 4, 6, 7, 1, 5, 3])
})

t.test('what rows of the database hold has a digest, and a secret has none of its own', async (t) => {
  t.equal(canonicalJson({ n: 10n, at: new Date(0), none: undefined }), '{"at":"1970-01-01T00:00:00.000Z","n":"10"}')
  t.equal(canonicalJson(undefined), 'null')
  t.equal(canonicalJson({ key: new Secret('hidden-value') }), '{"key":"[secret]"}')
  t.strictSame(digestOf({ a: 1, b: 2 }), digestOf({ b: 2, a: 1 }))
  t.equal(digestOf({}).toString('hex'), '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a')
})
