import secureJson from 'secure-json-parse'

const MAX_DEPTH = 200

/**
 * Why `text` may not be handed on, or undefined when it is plain JSON: it must parse, nest at most 200 deep, and hold no
 * `__proto__` and no `constructor.prototype`, which pollute whoever merges the parsed value.
 */
export function refuseJson(text: string): string | undefined {
  if (tooDeep(text)) return `nested deeper than ${MAX_DEPTH}`
  try {
    secureJson.parse(text, undefined, { protoAction: 'error', constructorAction: 'error' })
    return undefined
  } catch {
    try {
      JSON.parse(text)
      return 'forbidden key: __proto__ or constructor.prototype'
    } catch {
      return 'not JSON'
    }
  }
}

function tooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_DEPTH) return false
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (quoted) {
      if (code === 0x5c) i++
      else if (code === 0x22) quoted = false
    } else if (code === 0x22) quoted = true
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH) return true
    } else if (code === 0x5d || code === 0x7d) depth--
  }
  return false
}
