import { type AppErrorClass, defineError, type ErrorContent } from '#core/errors.ts'
import { Refusal, type RefusalCode } from './refusal.ts'

/** `check` is what has to hold, in general; the message says what was found. */
function told(refusal: Refusal, check: string): ErrorContent {
  const { message, details, kind, cause } = refusal
  return { message, details: { ...details, kind, check }, ...(cause === undefined ? {} : { cause }) }
}

// Refusals of the pure libraries as HTTP errors; spelled out because docs/errors.md is made from this text.
const refused: Record<RefusalCode, AppErrorClass<[Refusal]>> = {
  SKILLS_PACKAGE_TOO_LARGE: defineError('SKILLS_PACKAGE_TOO_LARGE', 413, (r: Refusal) =>
    told(r, 'the archive has at most 5 MiB')
  ),
  SKILLS_PACKAGE_NOT_GZIP: defineError('SKILLS_PACKAGE_NOT_GZIP', 422, (r: Refusal) =>
    told(r, 'the archive is a gzip file')
  ),
  SKILLS_PACKAGE_GZIP_HEADER: defineError('SKILLS_PACKAGE_GZIP_HEADER', 422, (r: Refusal) =>
    told(r, 'the gzip header names no file, time or system and has no flags')
  ),
  SKILLS_PACKAGE_CORRUPT: defineError('SKILLS_PACKAGE_CORRUPT', 422, (r: Refusal) =>
    told(r, 'the compressed data can be unpacked')
  ),
  SKILLS_PACKAGE_CHECKSUM: defineError('SKILLS_PACKAGE_CHECKSUM', 422, (r: Refusal) =>
    told(r, 'the unpacked bytes match the gzip checksum')
  ),
  SKILLS_PACKAGE_TRAILING_DATA: defineError('SKILLS_PACKAGE_TRAILING_DATA', 422, (r: Refusal) =>
    told(r, 'nothing follows the gzip member')
  ),
  SKILLS_PACKAGE_SECOND_MEMBER: defineError('SKILLS_PACKAGE_SECOND_MEMBER', 422, (r: Refusal) =>
    told(r, 'there is one gzip member')
  ),
  SKILLS_PACKAGE_UNPACKED_TOO_LARGE: defineError('SKILLS_PACKAGE_UNPACKED_TOO_LARGE', 413, (r: Refusal) =>
    told(r, 'it unpacks to at most 20 MiB')
  ),
  SKILLS_PACKAGE_RATIO: defineError('SKILLS_PACKAGE_RATIO', 422, (r: Refusal) =>
    told(r, 'it unpacks to at most 100 times its size')
  ),
  SKILLS_PACKAGE_TAR_TRUNCATED: defineError('SKILLS_PACKAGE_TAR_TRUNCATED', 422, (r: Refusal) =>
    told(r, 'the tar is whole')
  ),
  SKILLS_PACKAGE_TAR_CHECKSUM: defineError('SKILLS_PACKAGE_TAR_CHECKSUM', 422, (r: Refusal) =>
    told(r, 'each tar header matches its checksum')
  ),
  SKILLS_PACKAGE_TAR_FORMAT: defineError('SKILLS_PACKAGE_TAR_FORMAT', 422, (r: Refusal) =>
    told(r, 'each tar header is plain ustar: mode 0644, owner 0, time 0, no names')
  ),
  SKILLS_PACKAGE_TAR_EXTENSION: defineError('SKILLS_PACKAGE_TAR_EXTENSION', 422, (r: Refusal) =>
    told(r, 'no pax or GNU extension is used')
  ),
  SKILLS_PACKAGE_TAR_LINK: defineError('SKILLS_PACKAGE_TAR_LINK', 422, (r: Refusal) => told(r, 'there are no links')),
  SKILLS_PACKAGE_TAR_TYPE: defineError('SKILLS_PACKAGE_TAR_TYPE', 422, (r: Refusal) =>
    told(r, 'there are only plain files')
  ),
  SKILLS_PACKAGE_TAR_PADDING: defineError('SKILLS_PACKAGE_TAR_PADDING', 422, (r: Refusal) =>
    told(r, 'no bytes hide behind the end of a file')
  ),
  SKILLS_PACKAGE_TAR_TRAILING: defineError('SKILLS_PACKAGE_TAR_TRAILING', 422, (r: Refusal) =>
    told(r, 'the tar ends with two empty blocks and nothing else')
  ),
  SKILLS_PACKAGE_TOO_MANY_ENTRIES: defineError('SKILLS_PACKAGE_TOO_MANY_ENTRIES', 413, (r: Refusal) =>
    told(r, 'there are at most 500 files')
  ),
  SKILLS_PACKAGE_PATH: defineError('SKILLS_PACKAGE_PATH', 422, (r: Refusal) =>
    told(r, 'each path is relative, plain ASCII, lower case, at most 7 deep and 100 long')
  ),
  SKILLS_PACKAGE_DUPLICATE_PATH: defineError('SKILLS_PACKAGE_DUPLICATE_PATH', 422, (r: Refusal) =>
    told(r, 'no two paths are the same file on any file system')
  ),
  SKILLS_PACKAGE_UNSORTED: defineError('SKILLS_PACKAGE_UNSORTED', 422, (r: Refusal) =>
    told(r, 'entries are in the order of their paths')
  ),
  SKILLS_PACKAGE_FILE_MISSING: defineError('SKILLS_PACKAGE_FILE_MISSING', 422, (r: Refusal) =>
    told(r, 'skill.json, SKILL.md and the entry are there')
  ),
  SKILLS_PACKAGE_TEXT: defineError('SKILLS_PACKAGE_TEXT', 422, (r: Refusal) =>
    told(r, 'texts are UTF-8 without byte order mark and NUL')
  ),
  SKILLS_MANIFEST_INVALID: defineError('SKILLS_MANIFEST_INVALID', 422, (r: Refusal) =>
    told(r, 'skill.json fits its schema; errors holds pointers into it')
  ),
  SKILLS_MANIFEST_SCHEMA: defineError('SKILLS_MANIFEST_SCHEMA', 422, (r: Refusal) =>
    told(r, 'the JSON Schemas of the tools compile and stay within their limits')
  ),
  SKILLS_SKILL_MD_INVALID: defineError('SKILLS_SKILL_MD_INVALID', 422, (r: Refusal) =>
    told(r, 'SKILL.md keeps to the open Agent Skills format')
  ),
  SKILLS_BUNDLE_INVALID: defineError('SKILLS_BUNDLE_INVALID', 422, (r: Refusal) =>
    told(r, 'the bundle is JSON of its format, in canonical base64')
  ),
  SKILLS_BUNDLE_UNSUPPORTED: defineError('SKILLS_BUNDLE_UNSUPPORTED', 422, (r: Refusal) =>
    told(r, 'the bundle has no part that this version cannot verify')
  ),
  SKILLS_BUNDLE_ROOT_INVALID: defineError('SKILLS_BUNDLE_ROOT_INVALID', 422, (r: Refusal) =>
    told(r, 'roots names keys that signed')
  ),
  SKILLS_PAYLOAD_TYPE: defineError('SKILLS_PAYLOAD_TYPE', 422, (r: Refusal) =>
    told(r, 'the payload is an in-toto statement by its type')
  ),
  SKILLS_STATEMENT_INVALID: defineError('SKILLS_STATEMENT_INVALID', 422, (r: Refusal) =>
    told(r, 'the statement is one about publishing a skill')
  ),
  SKILLS_AUTHOR_KEY_MISMATCH: defineError('SKILLS_AUTHOR_KEY_MISMATCH', 422, (r: Refusal) =>
    told(r, "the author's key id is that of the author's key")
  ),
  SKILLS_AUTHOR_SIGNATURE_MISSING: defineError('SKILLS_AUTHOR_SIGNATURE_MISSING', 422, (r: Refusal) =>
    told(r, 'the author has signed')
  ),
  SKILLS_AUTHOR_SIGNATURE_INVALID: defineError('SKILLS_AUTHOR_SIGNATURE_INVALID', 422, (r: Refusal) =>
    told(r, "the author's signature is right")
  ),
  SKILLS_REGISTRY_SIGNATURE_MISSING: defineError('SKILLS_REGISTRY_SIGNATURE_MISSING', 422, (r: Refusal) =>
    told(r, 'a trusted registry has signed')
  ),
  SKILLS_REGISTRY_SIGNATURE_INVALID: defineError('SKILLS_REGISTRY_SIGNATURE_INVALID', 422, (r: Refusal) =>
    told(r, "the registry's signature is right")
  ),
  SKILLS_SIGNER_UNTRUSTED: defineError('SKILLS_SIGNER_UNTRUSTED', 422, (r: Refusal) =>
    told(r, 'everybody who signed is trusted')
  ),
  SKILLS_SIGNATURE_REPEATED: defineError('SKILLS_SIGNATURE_REPEATED', 422, (r: Refusal) =>
    told(r, 'nobody signs twice')
  ),
  SKILLS_ARCHIVE_DIGEST: defineError('SKILLS_ARCHIVE_DIGEST', 422, (r: Refusal) =>
    told(r, 'the archive is the one that was signed')
  ),
  SKILLS_FILE_LIST: defineError('SKILLS_FILE_LIST', 422, (r: Refusal) =>
    told(r, 'the files are those that were signed')
  ),
  SKILLS_FILE_DIGEST: defineError('SKILLS_FILE_DIGEST', 422, (r: Refusal) =>
    told(r, 'each file is the one that was signed')
  ),
  SKILLS_MANIFEST_DIGEST: defineError('SKILLS_MANIFEST_DIGEST', 422, (r: Refusal) =>
    told(r, 'skill.json is the one that was signed')
  ),
  SKILLS_PERMISSIONS_DIGEST: defineError('SKILLS_PERMISSIONS_DIGEST', 422, (r: Refusal) =>
    told(r, 'the permissions are those that were signed')
  ),
  SKILLS_SUBJECT: defineError('SKILLS_SUBJECT', 422, (r: Refusal) =>
    told(r, 'name and version are those that were signed')
  ),
  SKILLS_KEY_INVALID: defineError('SKILLS_KEY_INVALID', 422, (r: Refusal) => told(r, 'the key is an ed25519 key')),
  SKILLS_KEY_FILE_MODE: defineError('SKILLS_KEY_FILE_MODE', 422, (r: Refusal) =>
    told(r, 'the key file is readable by its owner alone')
  )
}

/** Runs `work`; a refusal of the pure libraries becomes an HTTP error of the same code. */
export async function refusing<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof Refusal ? new refused[error.code](error) : error
  }
}
