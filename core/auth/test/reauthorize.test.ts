import t from 'tap'
import { reauthorize } from '#core/auth/guard.ts'
import { definePlugin } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'

t.test('a long answer can ask whether its key may still have it', async (t) => {
  let asked = () => {}
  const begun = new Promise<void>((resolve) => {
    asked = resolve
  })
  let goOn = () => {}
  const wait = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const room = definePlugin({
    name: 'probe',
    permissions: { 'probe:read': 'Look.' },
    register(app) {
      app.get('/v1/long', { config: { permission: 'probe:read' } }, async (request) => {
        await reauthorize(request)
        asked()
        await wait
        await reauthorize(request)
        return {}
      })
    }
  })
  const { app, makeTenant, makeKey } = await testApp(t, { rooms: [{ room }] })
  const { tenantId, headers } = await makeTenant()
  const { authorization } = await makeKey(tenantId, ['probe:read'])
  const { data } = (await app.inject({ url: '/v1/keys', headers })).json()
  const answer = app.inject({ url: '/v1/long', headers: { authorization } })
  await begun
  const { id } = data.find((key: { scopes: string[] }) => key.scopes[0] === 'probe:read')
  t.equal((await app.inject({ method: 'DELETE', url: `/v1/keys/${id}`, headers })).statusCode, 204)
  goOn()
  t.equal((await answer).statusCode, 401)
})
