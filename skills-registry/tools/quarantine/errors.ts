import { defineError } from '#core/errors.ts'

/** `index`: of the ref in the session's config; null where no ref named it (a skill that another one may call). */
export const SkillQuarantined = defineError(
  'SKILLS_QUARANTINED',
  422,
  (index: number | null, { explanation, ...details }: { explanation: string } & Record<string, string>) => ({
    message: explanation,
    details: { ...details, errors: [{ pointer: index === null ? '/skills' : `/skills/${index}`, detail: explanation }] }
  })
)

export const QuarantineLifted = defineError('SKILLS_QUARANTINE_LIFTED', 409, (at: string, by: string) => ({
  message: `this quarantine was lifted already, at ${at} by ${by}`,
  details: { liftedAt: at, liftedBy: by }
}))
