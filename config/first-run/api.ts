/** The public API as any client has it: what the first boot does, a stranger could do. */
export interface Api {
  readonly url: string
  readonly key: string
}

/**
 * One request; the body is JSON or a form.
 * @throws Error with the API's own words where the call is refused
 */
export async function call<T>(
  api: Api,
  method: string,
  path: string,
  body?: object,
  idempotencyKey?: string
): Promise<T> {
  const json = body !== undefined && !(body instanceof FormData)
  const answer = await fetch(`${api.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${api.key}`,
      ...(json ? { 'content-type': 'application/json' } : {}),
      ...(idempotencyKey ? { 'idempotency-key': idempotencyKey } : {})
    },
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) })
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}
