import { createRequire } from 'node:module'

const require = createRequire(new URL('./peers/package.json', import.meta.url))

/** Loads a peer from bench/peers; its types are the caller's own, so that the project checks without it. */
export async function peer<T>(name: string): Promise<T> {
  return (await import(require.resolve(name))) as T
}

/** Path of a peer's file, for what is no module. */
export function peerFile(name: string): string {
  return require.resolve(name)
}
