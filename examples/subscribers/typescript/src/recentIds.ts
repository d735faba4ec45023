const REMEMBERED_IDS = 100_000

/** Remembers the newest ids, so that its memory is bounded. */
export class RecentIds {
  readonly #ids = new Set<string>() // a Set keeps the order of insertion

  has(id: string): boolean {
    return this.#ids.has(id)
  }

  add(id: string): void {
    this.#ids.add(id)
    if (this.#ids.size <= REMEMBERED_IDS) return
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest)
      return
    }
  }
}
