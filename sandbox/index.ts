export { SandboxError, type SandboxErrorCode } from './errors.ts'
export { Sandbox } from './supervisor/sandbox.ts'
export type {
  IsolationOptions,
  SandboxCall,
  SandboxClock,
  SandboxLimits,
  SandboxLog,
  SandboxOptions,
  SandboxResult,
  SandboxSkill,
  SandboxStatus,
  SandboxUsage
} from './types.ts'
