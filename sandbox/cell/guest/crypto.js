// crypto.getRandomValues and randomUUID: from the call's seed, so that a replay sees the same. The bytes come from the host.
;(kit) => {
  const { ask, codeAt } = kit
  const MAX_BYTES = 65536
  let drawn = -1e6 // while the module loads: other bytes than those of any call
  kit.resetChance = () => {
    drawn = 0
  }

  kit.lazy(['crypto'], () => {
    const TypedArray = Object.getPrototypeOf(Uint8Array)
    const fill = (bytes) => {
      const text = ask('random', `${++drawn}`, `${bytes.length}`)
      for (let i = 0; i < bytes.length; i++) bytes[i] = codeAt(text, i)
    }
    const getRandomValues = (array) => {
      if (!(array instanceof TypedArray) || /Float/.test(array[Symbol.toStringTag]))
        throw new TypeError('getRandomValues: the argument is an array of integers')
      if (array.byteLength > MAX_BYTES)
        throw new (kit.web('DOMException'))(`getRandomValues: at most ${MAX_BYTES} bytes`, 'QuotaExceededError')
      fill(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
      return array
    }
    const randomUUID = () => {
      const bytes = new Uint8Array(16)
      fill(bytes)
      bytes[6] = (bytes[6] & 0x0f) | 0x40
      bytes[8] = (bytes[8] & 0x3f) | 0x80
      const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    }
    return { crypto: Object.freeze({ getRandomValues, randomUUID }) }
  })
}
