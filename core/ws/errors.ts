import { defineError } from '#core/errors.ts'

export const FrameMalformed = defineError('WS_FRAME_MALFORMED', 400, (why: string) => `malformed frame: ${why}`)

export const MethodUnknown = defineError('WS_METHOD_UNKNOWN', 404, (method: string, known: string[]) => ({
  message: `there is no method ${JSON.stringify(method.slice(0, 64))}`,
  details: { known }
}))

export const MethodTaken = defineError('WS_METHOD_TAKEN', 500, (method: string) => `method ${method} is declared twice`)

export const HelloRequired = defineError('WS_HELLO_REQUIRED', 401, () => 'the first frame must be hello')
export const HelloTwice = defineError('WS_HELLO_TWICE', 409, () => 'this connection has said hello already')

export const TenantChanged = defineError('WS_TENANT_CHANGED', 401, () => 'this key belongs to another tenant now')

export const ProtocolUnsupported = defineError('WS_PROTOCOL_UNSUPPORTED', 400, (protocol: unknown) => ({
  message: `protocol ${String(protocol).slice(0, 20)} is not spoken here`,
  details: { supported: [1] }
}))

export const TooManyConnections = defineError('WS_TOO_MANY_CONNECTIONS', 429, (limit: number) => ({
  message: `this tenant has ${limit} connections open, which is its limit`,
  details: { limit },
  retryAfterMs: 10_000
}))

export const TooManySubscriptions = defineError('WS_TOO_MANY_SUBSCRIPTIONS', 429, (limit: number) => ({
  message: `a connection has at most ${limit} subscriptions`,
  details: { limit }
}))

export const SubscriptionUnknown = defineError(
  'WS_SUBSCRIPTION_UNKNOWN',
  404,
  () => 'this connection has no such subscription'
)

export const SubscriptionFailed = defineError('WS_SUBSCRIPTION_FAILED', 503, () => ({
  message: 'the stream could not be read',
  retryAfterMs: 1000
}))
