import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const lib = join(dirname(fileURLToPath(import.meta.resolve('typescript/package.json'))), 'lib')

/** What the compiler says of the tsconfig.json in `folder`; '' when nothing is wrong. */
export function tsc(folder: string): Promise<string> {
  const args = [join(lib, 'tsc.js'), '-p', folder, '--pretty', 'false']
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      // It exits with 1 or 2 when it found errors, and then it has named them.
      if (error && stdout === '') reject(new Error(stderr, { cause: error }))
      else resolve(stdout)
    })
  })
}

/** The folder with the compiler's own lib.*.d.ts. */
export async function tscLibs(): Promise<string> {
  const { default: getExePath } = await import(pathToFileURL(join(lib, 'getExePath.js')).href)
  return dirname(getExePath())
}
