// structuredClone: https://html.spec.whatwg.org/multipage/structured-data.html, without transfer.
;(kit) => {
  kit.lazy(['structuredClone'], () => {
    const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }
    const TypedArray = Object.getPrototypeOf(Uint8Array)
    const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1)
    const refuse = (what) => {
      throw new (kit.web('DOMException'))(`${what} could not be cloned`, 'DataCloneError')
    }

    const copy = (value, seen) => {
      const type = typeof value
      if (type === 'symbol' || type === 'function') refuse(`a ${type}`)
      if (type !== 'object' || value === null) return value
      const known = seen.get(value)
      if (known !== undefined) return known
      const keep = (made) => {
        seen.set(value, made)
        return made
      }
      if (Array.isArray(value)) return fill(keep(new Array(value.length)), value, seen)
      if (value instanceof Date) return keep(new Date(value.getTime()))
      if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags))
      if (value instanceof ArrayBuffer) return keep(value.slice(0))
      if (ArrayBuffer.isView(value)) {
        const buffer = copy(value.buffer, seen)
        const length = value instanceof TypedArray ? value.length : value.byteLength
        const Kind = globalThis[value instanceof TypedArray ? value[Symbol.toStringTag] : 'DataView']
        return keep(new Kind(buffer, value.byteOffset, length))
      }
      if (value instanceof Map) {
        const made = keep(new Map())
        for (const [name, item] of [...value]) made.set(copy(name, seen), copy(item, seen))
        return made
      }
      if (value instanceof Set) {
        const made = keep(new Set())
        for (const item of [...value]) made.add(copy(item, seen))
        return made
      }
      if (value instanceof Error) return copyError(value, keep, seen)
      if (value instanceof Boolean || value instanceof Number || value instanceof String)
        return keep(Object(value.valueOf()))
      if (value instanceof BigInt) return keep(Object(BigInt.prototype.valueOf.call(value)))
      if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) refuse(`#<${tagOf(value)}>`)
      return fill(keep({}), value, seen)
    }
    const fill = (made, value, seen) => {
      // defineProperty, not assignment: an own __proto__ stays a plain key.
      for (const name of Object.keys(value))
        Object.defineProperty(made, name, {
          value: copy(value[name], seen),
          writable: true,
          enumerable: true,
          configurable: true
        })
      return made
    }
    const copyError = (value, keep, seen) => {
      const Kind = Object.hasOwn(ERRORS, value.name) ? ERRORS[value.name] : Error
      const made = keep(Object.create(Kind.prototype))
      const own = { message: `${value.message}`, stack: `${value.stack}` }
      if (Object.hasOwn(value, 'cause')) own.cause = copy(value.cause, seen)
      for (const name of Object.keys(own)) kit.hide(made, name, own[name])
      return made
    }

    return {
      structuredClone: (value, options) => {
        if (options?.transfer?.length > 0) refuse('a transferred buffer')
        return copy(value, new Map())
      }
    }
  })
}
