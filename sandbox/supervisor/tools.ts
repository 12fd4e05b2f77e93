import { existsSync } from 'node:fs'

const DIRS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']

/** Absolute path of a system tool; cells are started with an empty environment, so without PATH. */
export function findTool(name: string): string | undefined {
  return DIRS.map((dir) => `${dir}/${name}`).find((path) => existsSync(path))
}
