import secureJson from 'secure-json-parse'

const MAX_DEPTH = 200

/**
 * Why `text` may not be handed on, or undefined when it is plain JSON: it must parse, nest at most 200 deep, and hold no
 * `__proto__` and no `constructor.prototype`, which pollute whoever merges the parsed value.
 */
export function refuseJson(text: string): string | undefined {
  if (tooDeep(text)) return `nested deeper than ${MAX_DEPTH}`
  try {
    if (isSuspect(text)) secureJson.parse(text, undefined, { protoAction: 'error', constructorAction: 'error' })
    else JSON.parse(text)
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

/** May hold a forbidden key: spelled out, or with an escape in it. Most texts do not, and a look is cheaper than a parse. */
function isSuspect(text: string): boolean {
  return text.includes('__proto__') || text.includes('constructor') || text.includes('\\u')
}

function tooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_DEPTH || !hasMany(text)) return false
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

/** More opening brackets than may nest: else there is nothing to count. */
function hasMany(text: string): boolean {
  let count = 0
  for (const bracket of ['[', '{'])
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1))
      if (++count > MAX_DEPTH) return true
  return false
}
