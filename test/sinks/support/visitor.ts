import { createHmac, randomBytes } from 'node:crypto'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'

const random = () => randomBytes(24).toString('base64url')

interface Ask {
  method?: string
  body?: unknown
  token?: string
  headers?: Record<string, string>
}

/** A client that brings a secret of every kind to a server and keeps what it got back. */
export class Visitor {
  readonly #url: string
  readonly #owner: string
  readonly secrets: Record<string, string> = {}
  /** How often each HTTP status was answered. */
  readonly statuses = new Map<number, number>()
  /** `own`: the secret that this client had sent to the wrong place; an answer may repeat it, to who sent it. */
  readonly errorBodies: { text: string; own: string }[] = []
  readonly frames: string[] = []
  /** A word that is meant to be seen: the name of a session. */
  readonly known = `seen-${random()}`
  #round = 0
  #own = ''

  constructor(url: string, owner: string) {
    this.#url = url
    this.#owner = owner
  }

  /** A secret of each kind: made, used and used up. */
  async usesAll({ broken = false } = {}): Promise<void> {
    const n = ++this.#round
    const keep = (name: string, value: unknown) => {
      if (typeof value === 'string' && value !== '') this.secrets[`${name}${n}`] = value
      return typeof value === 'string' && value !== '' ? value : random()
    }
    const given = (name: string) => keep(name, `${name}-"${random()}`)

    const made = await this.ask('/v1/keys', { body: { name: 'one', scopes: ['*'] } })
    const key = keep('apiKey', made.key)
    await this.ask('/v1/keys', { token: key })
    await this.ask('/v1/keys', { token: `${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}` })
    if (made.id) {
      keep('rotatedKey', (await this.ask(`/v1/keys/${made.id}/rotate`, { body: {} })).key)
      await this.ask(`/v1/keys/${made.id}`, { method: 'DELETE' })
    }

    const email = `owner${n}@example.com`
    const password = given('password')
    await this.ask('/v1/auth/password', { method: 'PUT', body: { email, password } })
    const tokens = await this.ask('/v1/auth/token', { body: { email, password } })
    const access = keep('accessToken', tokens.accessToken)
    const refresh = keep('refreshToken', tokens.refreshToken)
    await this.ask('/v1/whoami', { token: access })
    const again = await this.ask('/v1/auth/token', { body: { refreshToken: refresh } })
    keep('secondRefreshToken', again.refreshToken)
    await this.ask('/v1/auth/token', { body: { refreshToken: refresh } })
    await this.ask('/v1/auth/token', { body: { email, password: given('wrongPassword') } })

    const invited = await this.ask('/v1/invitations', { body: { email: `member${n}@example.com`, role: 'member' } })
    const invitation = keep('invitation', invited.token)
    const accept = { token: invitation, password: given('memberPassword') }
    await this.ask('/v1/invitations/accept', { body: accept })
    await this.ask('/v1/invitations/accept', { body: accept })

    const value = given('vaultValue')
    const webhook = keep('webhookSecret', `whsec_${randomBytes(24).toString('base64')}`)
    await this.ask('/v1/secrets/API_TOKEN', { method: 'PUT', body: { value } })
    await this.ask('/v1/secrets/HOOK', { method: 'PUT', body: { value: webhook } })
    await this.ask('/v1/secrets/PEM', { method: 'PUT', body: { value: keep('pem', pemOf()) } })
    await this.ask('/v1/secrets/API_TOKEN/rotate', { body: { value: given('rotatedValue') } })
    await this.ask('/v1/secrets')
    await this.ask('/v1/secrets/API_TOKEN', { method: 'DELETE' })

    const ticket = keep('ticket', (await this.ask('/v1/ws/ticket', { body: {} })).ticket)
    await this.socket(broken ? this.#owner : ticket, [
      { id: '2', method: 'subscribe', params: { topics: ['*'], after: 0 } },
      { id: '3', method: 'session.create', params: { config: this.#session(), idempotencyKey: random() } }
    ])
    await this.socket(ticket, []) // used up
    await this.ask('/v1/sessions', { body: this.#session() })
  }

  /** The same secrets where they do not belong. */
  async misusesAll(): Promise<void> {
    for (const [name, secret] of Object.entries(this.secrets)) {
      this.#own = name
      const url = encodeURIComponent(secret)
      await this.ask(`/v1/keys?token=${url}&limit=0`)
      await this.ask(`/v1/secrets/${url}`)
      await this.ask(`/v1/nowhere/${url}`)
      await this.ask(`/v1/sessions/${url}`)
      await this.ask('/v1/whoami', { token: Buffer.from(secret).toString('base64url') })
      if (isHeader(secret)) {
        await this.ask('/v1/whoami', { headers: { 'agentos-tenant': secret } })
        await this.ask('/v1/keys', { headers: { 'x-request-id': secret }, body: { name: '', scopes: [secret] } })
        await this.ask('/v1/keys', { headers: { authorization: `Basic ${btoa(secret)}` } })
      }
      await this.ask('/v1/auth/token', { body: `{"email": "a@example.com", "password": ${JSON.stringify(secret)}, ` })
      await this.ask('/v1/secrets/NAME', { method: 'PUT', body: { value: '', [secret]: secret } })
      await this.socket(secret, [{ id: '2', method: secret.slice(0, 60), params: { [secret]: secret } }])
      await this.socket(this.#owner, [{ id: '2', method: 'session.get', params: { sessionId: secret } }])
    }
    this.#own = ''
    const claims = { iss: 'https://login.example/', aud: 'agentos', sub: newId(), exp: 4102444800 }
    for (const [alg, by] of [
      ['HS256', random()],
      ['none', '']
    ] as const) {
      const body = [{ alg, typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      const token = `${body.join('.')}.${by && createHmac('sha256', by).update(body.join('.')).digest('base64url')}`
      this.secrets[`foreignJwt${alg}`] = token
      await this.ask('/v1/whoami', { token })
    }
  }

  /** Reads the tenant's events from the first on, up to the session of its own. */
  async readsEvents(): Promise<void> {
    await this.ask('/v1/sessions', { body: this.#session() })
    const subscribe = { id: '2', method: 'subscribe', params: { topics: ['*'], after: 0 } }
    await this.socket(this.#owner, [subscribe], (frame) => frame.includes(this.known))
  }

  #session() {
    const steps = [{ id: 'one', kind: 'tool', tool: 'csv-profile.profile', input: { csv: 'a,b\n1,2\n' } }]
    return { name: this.known, skills: ['@agentos/csv-profile@^1'], steps }
  }

  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  async ask(path: string, { method, body, token = this.#owner, headers = {} }: Ask = {}): Promise<any> {
    const answer = await fetch(`${this.#url}${path}`, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) })
    })
    const text = await answer.text()
    this.statuses.set(answer.status, (this.statuses.get(answer.status) ?? 0) + 1)
    if (answer.status >= 400) this.errorBodies.push({ text, own: this.#own })
    return text.startsWith('{') ? JSON.parse(text) : {}
  }

  /** Says hello with this token, sends the frames and goes when all are answered or it was thrown out. */
  async socket(
    token: string,
    frames: { id: string; method: string; params: object }[],
    enough?: (frame: string) => boolean
  ): Promise<void> {
    const socket = new WebSocket(`${this.#url.replace(/^http/, 'ws')}/v1/ws`)
    const last = frames.at(-1)?.id ?? '1'
    await new Promise<void>((resolve) => {
      socket.onerror = () => resolve()
      socket.onclose = ({ reason }) => {
        this.frames.push(reason)
        resolve()
      }
      socket.onmessage = ({ data }) => {
        this.frames.push(String(data))
        if (enough ? enough(String(data)) : JSON.parse(String(data)).id === last) socket.close()
      }
      socket.onopen = () => {
        const hello = { id: '1', method: 'hello', params: { protocol: 1, token } }
        for (const frame of [hello, ...frames]) socket.send(JSON.stringify(frame))
      }
    })
  }
}

function isHeader(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text)
}

function pemOf(): string {
  const lines = must(
    randomBytes(120)
      .toString('base64')
      .match(/.{1,64}/g),
    'lines'
  )
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`
}
