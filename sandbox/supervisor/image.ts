// A cell image: a folder with everything a cell may see. Built once per Sandbox, removed by close().
//   app/            the cell's own code (types stripped: --jitless has no WebAssembly, so node cannot strip them there)
//   app/node_modules/{isolated-vm,piscina,@jridgewell}
//   bin/ lib.../    mount point of node, setpriv and the shared libraries, for the jail
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire, stripTypeScriptTypes } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { imagePrefix, removeStaleImages } from './stale.ts'

const require = createRequire(import.meta.url)
const room = new URL('../', import.meta.url)

export interface Image {
  dir: string
  /** Path of the cell's main file below `dir`. */
  main: string
  remove(): void
}

/** Builds the image below `parent`; 0755, for the cell may run as another user. Nothing in it is secret. */
export function buildImage(parent = tmpdir()): Image {
  removeStaleImages(parent)
  const dir = mkdtempSync(join(parent, imagePrefix()))
  chmodSync(dir, 0o755)
  const app = join(dir, 'app')
  for (const folder of ['cell', 'wire']) copySources(folder, join(app, folder))
  cpSync(new URL('cell/guest/', room), join(app, 'cell/guest'), { recursive: true })
  writeFileSync(join(app, 'package.json'), '{"type":"module"}')
  copyIsolatedVm(join(app, 'node_modules/isolated-vm'))
  copyPiscina(join(app, 'node_modules/piscina'))
  copyTraceMapping(join(app, 'node_modules'))
  const remove = () => {
    process.removeListener('exit', remove)
    rmSync(dir, { recursive: true, force: true })
  }
  process.once('exit', remove) // an engine that ends without close()
  return { dir, main: 'app/cell/main.js', remove }
}

// stripTypeScriptTypes warns that it is experimental, on the stderr of an engine that runs on type stripping anyway.
function stripTypes(source: string): string {
  const { emitWarning } = process
  process.emitWarning = () => undefined
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}

function copySources(from: string, to: string): void {
  mkdirSync(to, { recursive: true })
  const folder = new URL(`${from}/`, room)
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.ts')) continue
    const stripped = stripTypes(readFileSync(new URL(name, folder), 'utf8'))
    // Only specifiers and the file names in URLs end in .ts' here.
    writeFileSync(join(to, name.replace(/\.ts$/, '.js')), stripped.replaceAll(".ts'", ".js'"))
  }
}

function copyIsolatedVm(to: string): void {
  // The file of this platform and ABI is chosen here, without loading it: the engine's process never loads isolated-vm.
  const entry = require.resolve('isolated-vm')
  const find = createRequire(entry)('node-gyp-build') as { path(dir: string): string }
  mkdirSync(to, { recursive: true })
  cpSync(find.path(dirname(entry)), join(to, 'isolated-vm.node'))
  writeFileSync(join(to, 'package.json'), '{"main":"index.cjs"}')
  writeFileSync(join(to, 'index.cjs'), "module.exports = require('./isolated-vm.node').ivm")
}

function copyPiscina(to: string): void {
  const root = dirname(dirname(require.resolve('piscina')))
  cpSync(join(root, 'package.json'), join(to, 'package.json'), { recursive: true })
  cpSync(join(root, 'dist'), join(to, 'dist'), {
    recursive: true,
    filter: (path) => !/\.(ts|map)$/.test(path)
  })
}

function copyTraceMapping(to: string): void {
  const name = '@jridgewell/trace-mapping'
  const inner = createRequire(require.resolve(name))
  for (const one of [name, '@jridgewell/sourcemap-codec', '@jridgewell/resolve-uri']) {
    const root = dirname(dirname(inner.resolve(one)))
    cpSync(join(root, 'package.json'), join(to, one, 'package.json'), { recursive: true })
    cpSync(join(root, 'dist'), join(to, one, 'dist'), {
      recursive: true,
      filter: (path) => !/\.(ts|map|umd\.js)$/.test(path)
    })
  }
}
