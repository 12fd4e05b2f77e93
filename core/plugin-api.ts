// The published surface `agentos/plugin`: all that a third party's room needs, and all that we may not break.

// What rooms find on the app and on a request (app.db, request.auth ...) comes with the types of this module.
import type {} from '#core/app.ts'

export { assign, setup } from 'xstate'
export { z } from 'zod'
export {
  type ActorHost,
  ActorNotFound,
  type ActorRef,
  type ActorRow,
  type Applied,
  CommandRefused,
  defineMachine,
  type Effect,
  type EffectCall,
  type Json,
  type KindWiring,
  type MachineKind,
  type NewActor,
  type Outcome,
  type Sent,
  type Want,
  type Wants,
  type WriteEntry
} from '#core/actors/index.ts'
export { type AuditEntry, audit, auditAll } from '#core/audit/audit.ts'
export { causeOf } from '#core/auth/actor.ts'
export type { Identity } from '#core/auth/auth.ts'
export type { Bus } from '#core/bus/index.ts'
export { type Clock, systemClock } from '#core/clock.ts'
export type { Actor, Db, TenantContext, Tx } from '#core/db/index.ts'
export { AppError, type AppErrorClass, defineError, type FieldError, NotFound, RequestInvalid } from '#core/errors.ts'
export { defineEvent, type EventType, type PendingEvent, pending, type StoredEvent } from '#core/events.ts'
export { type Answer, idempotent, sendAnswer } from '#core/http/idempotency.ts'
export { decodeCursor, encodeCursor, PageQuery, type Position, page, pageOf } from '#core/http/page.ts'
export { IdParams } from '#core/http/validation.ts'
export { isId, newId } from '#core/ids.ts'
export { nameLogFields } from '#core/log-fields.ts'
export { must } from '#core/must.ts'
export { type App, definePlugin, type Room } from '#core/plugin.ts'
