// What a Supabase database brings along and any other one lacks: the role `authenticated`, and auth.uid() in a schema auth.
import postgres from 'postgres'
import type { Clock } from '#core/clock.ts'
import { retryCollisions } from './bootstrap.ts'
import type { DbLog, Pool } from './types.ts'

// Supabase's own, so that a policy means the same on both.
const uid = `
  create function auth.uid() returns uuid
    language sql stable parallel safe
  as $$
    select coalesce(
      nullif(pg_catalog.current_setting('request.jwt.claim.sub', true), ''),
      nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb ->> 'sub'
    )::pg_catalog.uuid
  $$`

/**
 * Provides the role and auth.uid() where they are missing. What this login may not make stays missing: the server needs
 * neither, only reading by membership (core.member_read) does.
 */
export async function ensureAuthenticated(sql: Pool, options: { clock: Clock; log: DbLog }): Promise<void> {
  const { clock, log } = options
  const tolerate = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof postgres.PostgresError && error.code === '42501')) throw error
      log.info({ reason: error.message }, `${what} is missing and this login may not make it: no reading by membership`)
    }
  }
  await tolerate('the role authenticated', () =>
    retryCollisions(clock, async () => {
      const [found] = await sql`select to_regrole('authenticated') is not null as there`
      if (!found?.there) await sql.unsafe('create role authenticated nologin nosuperuser nobypassrls noinherit')
    })
  )
  await tolerate('auth.uid()', () =>
    sql.begin(async (tx) => {
      const [found] = await tx`
        select to_regnamespace('auth') is not null as schema, to_regprocedure('auth.uid()') is not null as uid,
          to_regrole('authenticated') is not null as role`
      if (found?.uid) {
        await tx.unsafe('grant usage on schema auth to agentos_owner')
        return
      }
      if (!found?.schema) {
        await tx.unsafe('create schema auth authorization agentos_owner')
        await tx.unsafe('set local role agentos_owner')
        if (found?.role) await tx.unsafe('grant usage on schema auth to authenticated')
      }
      await tx.unsafe(uid)
    })
  )
}
