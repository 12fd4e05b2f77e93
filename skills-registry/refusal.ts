// Why a package or its bundle is not accepted. Pure: the offline verifier uses it without the rest of the server.

/**
 * `bytes`: the content is wrong, whoever signed it. `trust`: the bytes may be fine, but nobody that I trust vouches for
 * them. The two are told apart because the cure differs: fetch it again, or ask who made it.
 */
export type RefusalKind = 'bytes' | 'trust'

/** Every reason with its kind; the message says where. What each means on HTTP: refused.ts. */
export const REFUSALS = {
  // gzip
  SKILLS_PACKAGE_TOO_LARGE: 'bytes',
  SKILLS_PACKAGE_NOT_GZIP: 'bytes',
  SKILLS_PACKAGE_GZIP_HEADER: 'bytes',
  SKILLS_PACKAGE_CORRUPT: 'bytes',
  SKILLS_PACKAGE_CHECKSUM: 'bytes',
  SKILLS_PACKAGE_TRAILING_DATA: 'bytes',
  SKILLS_PACKAGE_SECOND_MEMBER: 'bytes',
  SKILLS_PACKAGE_UNPACKED_TOO_LARGE: 'bytes',
  SKILLS_PACKAGE_RATIO: 'bytes',
  // tar
  SKILLS_PACKAGE_TAR_TRUNCATED: 'bytes',
  SKILLS_PACKAGE_TAR_CHECKSUM: 'bytes',
  SKILLS_PACKAGE_TAR_FORMAT: 'bytes',
  SKILLS_PACKAGE_TAR_EXTENSION: 'bytes',
  SKILLS_PACKAGE_TAR_LINK: 'bytes',
  SKILLS_PACKAGE_TAR_TYPE: 'bytes',
  SKILLS_PACKAGE_TAR_PADDING: 'bytes',
  SKILLS_PACKAGE_TAR_TRAILING: 'bytes',
  SKILLS_PACKAGE_TOO_MANY_ENTRIES: 'bytes',
  SKILLS_PACKAGE_PATH: 'bytes',
  SKILLS_PACKAGE_DUPLICATE_PATH: 'bytes',
  SKILLS_PACKAGE_UNSORTED: 'bytes',
  // content
  SKILLS_PACKAGE_FILE_MISSING: 'bytes',
  SKILLS_PACKAGE_TEXT: 'bytes',
  SKILLS_MANIFEST_INVALID: 'bytes',
  SKILLS_MANIFEST_SCHEMA: 'bytes',
  SKILLS_SKILL_MD_INVALID: 'bytes',
  // bundle and signatures
  SKILLS_BUNDLE_INVALID: 'bytes',
  SKILLS_BUNDLE_UNSUPPORTED: 'trust',
  SKILLS_BUNDLE_ROOT_INVALID: 'bytes',
  SKILLS_PAYLOAD_TYPE: 'bytes',
  SKILLS_STATEMENT_INVALID: 'bytes',
  SKILLS_AUTHOR_KEY_MISMATCH: 'bytes',
  SKILLS_AUTHOR_SIGNATURE_MISSING: 'trust',
  SKILLS_AUTHOR_SIGNATURE_INVALID: 'bytes',
  SKILLS_REGISTRY_SIGNATURE_MISSING: 'trust',
  SKILLS_REGISTRY_SIGNATURE_INVALID: 'bytes',
  SKILLS_SIGNER_UNTRUSTED: 'trust',
  SKILLS_SIGNATURE_REPEATED: 'bytes',
  SKILLS_ARCHIVE_DIGEST: 'bytes',
  SKILLS_FILE_LIST: 'bytes',
  SKILLS_FILE_DIGEST: 'bytes',
  SKILLS_MANIFEST_DIGEST: 'bytes',
  SKILLS_PERMISSIONS_DIGEST: 'bytes',
  SKILLS_SUBJECT: 'bytes',
  // keys
  SKILLS_KEY_INVALID: 'bytes',
  SKILLS_KEY_FILE_MODE: 'trust'
} as const satisfies Record<string, RefusalKind>

export type RefusalCode = keyof typeof REFUSALS

/** A package, bundle or key that was not accepted, and the one check that said so. */
export class Refusal extends Error {
  readonly code: RefusalCode
  readonly kind: RefusalKind
  readonly details: Record<string, unknown>

  constructor(code: RefusalCode, message: string, details: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'Refusal'
    this.code = code
    this.kind = REFUSALS[code]
    this.details = details
  }
}
