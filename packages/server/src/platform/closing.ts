/**
 * What was opened, to be closed in reverse order: AsyncDisposableStack as far as it is needed here, since Node 20 has the
 * symbols and not the class.
 */
export class Closing implements AsyncDisposable {
  #closers: (() => PromiseLike<unknown> | undefined)[] = []

  defer(close: () => PromiseLike<unknown> | undefined): void {
    this.#closers.push(close)
  }

  use<Resource extends AsyncDisposable>(resource: Resource): Resource {
    this.defer(() => resource[Symbol.asyncDispose]())
    return resource
  }

  /** Hands everything to a new owner: disposing this one then closes nothing. */
  move(): Closing {
    const moved = new Closing()
    moved.#closers = this.#closers
    this.#closers = []
    return moved
  }

  /** Closes everything, also when some of it fails; then throws the first failure. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
