/** What the README of a room is held to: a room as `GET /v1/system/rooms` shows it, or the parts of it that are known. */
export interface RoomFacts {
  name: string
  tables: readonly string[]
  emits: readonly string[]
  consumes: readonly string[]
  decorators: readonly string[]
  /** Left out where the room was not registered. */
  routes?: readonly { method: string; url: string }[]
}

/**
 * The differences between a room and the table in its README. Rows are found by how their first cell begins (tables,
 * routes, events, decorators); names are what stands in backticks, routes as `GET /v1/things/:id`.
 */
export function readmeProblems(readme: string, room: RoomFacts): string[] {
  const wanted: [string, readonly string[]][] = [
    ['tables', room.tables],
    ['events', [...room.emits, ...room.consumes]],
    ['decorators', room.decorators],
    ...(room.routes ? [['routes', room.routes.map(({ method, url }) => `${method} ${url}`)] as [string, string[]]] : [])
  ]
  return wanted.flatMap(([kind, names]) => {
    const written = namesInRows(readme, kind)
    if (written === null) return names.length === 0 ? [] : [`README of "${room.name}" has no row "${kind}"`]
    return [
      ...names
        .filter((name) => !written.includes(name))
        .map((name) => `README of "${room.name}" does not name ${kind}: ${name}`),
      // What config decorates (kernel parts) may be told where it is made.
      ...(kind === 'decorators' ? [] : written)
        .filter((name) => !names.includes(name))
        .map((name) => `README of "${room.name}" names ${kind} that the room has not: ${name}`)
    ]
  })
}

function namesInRows(readme: string, kind: string): string[] | null {
  const rows = readme.split('\n').filter((line) => new RegExp(`^\\|\\s*\`?${kind}\\b`, 'i').test(line))
  if (rows.length === 0) return null
  return rows.flatMap((row) => {
    const cells = row
      .split(/(?<!\\)\|/)
      .slice(2)
      .join(' ')
    return [...cells.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name.replace(/^app\./, ''))
  })
}
