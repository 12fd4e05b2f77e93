// Why a package or its bundle is not accepted. Pure: the offline verifier uses it without the rest of the server.

/**
 * `bytes`: the content is wrong, whoever signed it. `trust`: the bytes may be fine, but nobody that I trust vouches for
 * them. The two are told apart because the cure differs: fetch it again, or ask who made it.
 */
export type RefusalKind = 'bytes' | 'trust'

/** Every reason, with its kind and HTTP status; the message says where. */
export const REFUSALS = {
  // gzip
  SKILLS_PACKAGE_TOO_LARGE: ['bytes', 413],
  SKILLS_PACKAGE_NOT_GZIP: ['bytes', 422],
  SKILLS_PACKAGE_GZIP_HEADER: ['bytes', 422],
  SKILLS_PACKAGE_CORRUPT: ['bytes', 422],
  SKILLS_PACKAGE_CHECKSUM: ['bytes', 422],
  SKILLS_PACKAGE_TRAILING_DATA: ['bytes', 422],
  SKILLS_PACKAGE_SECOND_MEMBER: ['bytes', 422],
  SKILLS_PACKAGE_UNPACKED_TOO_LARGE: ['bytes', 413],
  SKILLS_PACKAGE_RATIO: ['bytes', 422],
  // tar
  SKILLS_PACKAGE_TAR_TRUNCATED: ['bytes', 422],
  SKILLS_PACKAGE_TAR_CHECKSUM: ['bytes', 422],
  SKILLS_PACKAGE_TAR_FORMAT: ['bytes', 422],
  SKILLS_PACKAGE_TAR_EXTENSION: ['bytes', 422],
  SKILLS_PACKAGE_TAR_LINK: ['bytes', 422],
  SKILLS_PACKAGE_TAR_TYPE: ['bytes', 422],
  SKILLS_PACKAGE_TAR_PADDING: ['bytes', 422],
  SKILLS_PACKAGE_TAR_TRAILING: ['bytes', 422],
  SKILLS_PACKAGE_TOO_MANY_ENTRIES: ['bytes', 413],
  SKILLS_PACKAGE_PATH: ['bytes', 422],
  SKILLS_PACKAGE_DUPLICATE_PATH: ['bytes', 422],
  SKILLS_PACKAGE_UNSORTED: ['bytes', 422],
  // content
  SKILLS_PACKAGE_FILE_MISSING: ['bytes', 422],
  SKILLS_PACKAGE_TEXT: ['bytes', 422],
  SKILLS_MANIFEST_INVALID: ['bytes', 422],
  SKILLS_MANIFEST_SCHEMA: ['bytes', 422],
  SKILLS_SKILL_MD_INVALID: ['bytes', 422],
  // bundle and signatures
  SKILLS_BUNDLE_INVALID: ['bytes', 422],
  SKILLS_BUNDLE_UNSUPPORTED: ['trust', 422],
  SKILLS_BUNDLE_ROOT_INVALID: ['bytes', 422],
  SKILLS_PAYLOAD_TYPE: ['bytes', 422],
  SKILLS_STATEMENT_INVALID: ['bytes', 422],
  SKILLS_AUTHOR_KEY_MISMATCH: ['bytes', 422],
  SKILLS_AUTHOR_SIGNATURE_MISSING: ['trust', 422],
  SKILLS_AUTHOR_SIGNATURE_INVALID: ['bytes', 422],
  SKILLS_REGISTRY_SIGNATURE_MISSING: ['trust', 422],
  SKILLS_REGISTRY_SIGNATURE_INVALID: ['bytes', 422],
  SKILLS_SIGNER_UNTRUSTED: ['trust', 422],
  SKILLS_SIGNATURE_REPEATED: ['bytes', 422],
  SKILLS_ARCHIVE_DIGEST: ['bytes', 422],
  SKILLS_FILE_LIST: ['bytes', 422],
  SKILLS_FILE_DIGEST: ['bytes', 422],
  SKILLS_MANIFEST_DIGEST: ['bytes', 422],
  SKILLS_PERMISSIONS_DIGEST: ['bytes', 422],
  SKILLS_SUBJECT: ['bytes', 422],
  // keys
  SKILLS_KEY_INVALID: ['bytes', 422],
  SKILLS_KEY_FILE_MODE: ['trust', 422]
} as const satisfies Record<string, readonly [RefusalKind, number]>

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
    this.kind = REFUSALS[code][0]
    this.details = details
  }
}
