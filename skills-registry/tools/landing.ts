/** When an answer is given. */
export interface Place {
  /** From 1. */
  readonly landed: number
  /** Every answer that landed before it has been given, or never will be. */
  readonly before: Promise<void>
  /** Tells those behind it. */
  given(): void
}

/**
 * The order in which the answers of one call reach its guest: the one that its journal says, which commits at the same time do
 * not keep by themselves. A run that repeats another one gives the answers in the order of that one: a tool that asks for
 * three things at once and goes on with whichever is there numbers its next host calls by it.
 */
export class Landing {
  readonly #known = new Map<number, Place>()
  #last = 0
  #asked = 0
  #given: Promise<void> = Promise.resolve()

  /** @param known what an earlier run of the call journaled */
  constructor(known: Iterable<{ n: number; landed: number }>) {
    for (const { n, landed } of [...known].sort((a, b) => a.landed - b.landed)) this.#known.set(n, this.#take(landed))
    // What is new waits for none of these: the guest may never ask for one that it had not waited for.
    this.#given = Promise.resolve()
  }

  /**
   * Host call n is asked; they come in the order of their numbers, so what was left out before it comes no more.
   * @returns the place that its answer had in the earlier run, if it had one there
   */
  asked(n: number): Place | undefined {
    for (let left = this.#asked + 1; left < n; left++) this.#known.get(left)?.given()
    this.#asked = Math.max(this.#asked, n)
    return this.#known.get(n)
  }

  /** For an answer that has just come. */
  next(): Place {
    return this.#take(this.#last + 1)
  }

  #take(landed: number): Place {
    const { promise, resolve } = Promise.withResolvers<void>()
    const place = { landed, before: this.#given, given: resolve }
    this.#last = landed
    this.#given = promise
    return place
  }
}
