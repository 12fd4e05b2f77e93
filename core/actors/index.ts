export type { Write, WriteEntry } from './committer.ts'
export {
  ActorHost,
  type ActorHostOptions,
  ActorNotFound,
  CommandRefused,
  type KindWiring,
  type NewActor,
  type Sent
} from './host.ts'
export {
  type ActorRef,
  type ActorRow,
  type Applied,
  type Arrow,
  type Cause,
  defineMachine,
  type Effect,
  type EffectCall,
  type Json,
  type MachineKind,
  NOTE_KEY,
  type Note,
  type Outcome,
  type Want,
  type Wants
} from './kind.ts'
