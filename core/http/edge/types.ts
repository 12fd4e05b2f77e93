/** What stands between this server and those who call it. Every part has a default that is safe without a proxy. */
export interface EdgeOptions {
  /** Whose X-Forwarded-* are believed: addresses and CIDRs, or how many hops. Default nobody's. */
  readonly trustProxy?: readonly string[] | number | false
  /** Web pages of other hosts that may call, as browsers send them. Default none. */
  readonly allowedOrigins?: readonly string[]
  /** Above these, requests are answered 503 until it is better. Default: whatever comes is tried. */
  readonly pressure?: PressureLimits
}

export interface PressureLimits {
  /** Mean delay of the event loop over a second, ms. */
  readonly eventLoopMs: number
  /** Share of V8's heap limit in use, 0 to 1. */
  readonly heapShare: number
}
