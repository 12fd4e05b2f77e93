import { defineError } from '#core/errors.ts'

export const JobNameTaken = defineError('JOBS_NAME_TAKEN', 500, (name: string) => `job ${name} is defined twice`)
export const JobUnknown = defineError('JOBS_UNKNOWN', 500, (name: string) => `no room defined the job ${name}`)
export const JobsAlreadyStarted = defineError(
  'JOBS_ALREADY_STARTED',
  500,
  (name: string) => `job ${name} came after the queues had started`
)
export const JobsNotStarted = defineError('JOBS_NOT_STARTED', 503, () => ({
  message: 'the queues are not running yet, or not any more',
  retryAfterMs: 1000
}))
export const JobDataInvalid = defineError('JOBS_DATA_INVALID', 500, (name: string, cause: unknown) => ({
  message: `data of job ${name} does not fit its own schema`,
  cause
}))
