/** `content-disposition` by which a browser saves under the path's last name: RFC 6266, with ASCII for those who know no more. */
export function attachment(path: string): string {
  const name = path.split('/').at(-1) ?? ''
  const ascii = name.replace(/[^\w.,() +=@~-]/g, '_')
  const exact = encodeURIComponent(name).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`
  )
  return `attachment; filename="${ascii}"; filename*=UTF-8''${exact}`
}

/**
 * The bytes that a `Range` header asks for, from `start` to before `end`.
 * @returns null for the whole: no header, or one that is not one range of bytes, which may be ignored (RFC 9110, 14.2);
 *   'none' where nothing of the file is in it
 */
export function parseRange(header: string | undefined, size: number): { start: number; end: number } | 'none' | null {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return null
  if (first === '') {
    const length = Math.min(Number(last), size)
    return length === 0 ? 'none' : { start: size - length, end: size }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return null
  return start >= size ? 'none' : { start, end: last === '' ? size : Math.min(Number(last) + 1, size) }
}
