// A tar writer that can lie in every field, for the archives that must be refused.

export interface RawEntry {
  name: string
  content?: Uint8Array
  type?: string
  size?: string
  fields?: Record<number, string>
  keepChecksum?: boolean
  padWith?: number
}

export function rawHeader(entry: RawEntry): Buffer {
  const block = Buffer.alloc(512)
  const put = (offset: number, text: string) => block.write(text, offset, 'latin1')
  block.write(entry.name, 0, 100, 'utf8')
  put(100, '0000644\0')
  put(108, '0000000\0')
  put(116, '0000000\0')
  put(124, entry.size ?? `${(entry.content?.length ?? 0).toString(8).padStart(11, '0')}\0`)
  put(136, '00000000000\0')
  put(148, '        ')
  put(156, entry.type ?? '0')
  put(257, 'ustar\x0000')
  put(329, '0000000\0')
  put(337, '0000000\0')
  for (const [offset, text] of Object.entries(entry.fields ?? {})) put(Number(offset), text)
  if (!entry.keepChecksum) {
    put(148, '        ')
    const sum = block.reduce((a, b) => a + b, 0)
    put(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  }
  return block
}

export function rawTar(entries: RawEntry[], end: Uint8Array = new Uint8Array(1024)): Buffer {
  const parts: Uint8Array[] = []
  for (const entry of entries) {
    const content = entry.content ?? new Uint8Array()
    const padding = new Uint8Array((512 - (content.length % 512)) % 512).fill(entry.padWith ?? 0)
    parts.push(rawHeader(entry), content, padding)
  }
  return Buffer.concat([...parts, end])
}
