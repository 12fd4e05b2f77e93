// postgres.js asks each new connection for the array types of the server, and a connection that is cut at that moment
// (a restart, pg_terminate_backend) ends the process by an unhandled rejection (postgres 3.4.9, fetchArrayTypes). We
// tell it the few array types that our SQL uses instead, and save a round trip per connection.

/** OID of the array type -> how one element is read from its text. */
const arrays: Readonly<Record<string, { oid: number; read: (text: string) => unknown }>> = {
  boolArray: { oid: 1000, read: (text) => text === 't' },
  int4Array: { oid: 1007, read: Number },
  textArray: { oid: 1009, read: (text) => text },
  int8Array: { oid: 1016, read: BigInt },
  uuidArray: { oid: 2951, read: (text) => text }
}

/** The `types` option of postgres(): one entry per array type. */
export const arrayTypes = Object.fromEntries(
  Object.entries(arrays).map(([name, { oid, read }]) => [
    name,
    {
      to: oid,
      from: [oid],
      serialize: writeArray,
      parse: (text: string) => readArray(text).map((element) => (element === null ? null : read(element)))
    }
  ])
)

/** One-dimensional array literal: `{"a","b\"c",NULL}`. */
export function writeArray(values: readonly unknown[]): string {
  const elements = values.map((value) =>
    value === null ? 'NULL' : `"${String(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  )
  return `{${elements.join(',')}}`
}

/** The elements of a one-dimensional array literal, as text. */
export function readArray(text: string): (string | null)[] {
  const elements = text.slice(1, -1).match(/"(?:[^"\\]|\\.)*"|[^,]+/g) ?? []
  return elements.map((element) => {
    if (element === 'NULL') return null
    return element.startsWith('"') ? element.slice(1, -1).replaceAll(/\\(.)/gs, '$1') : element
  })
}
