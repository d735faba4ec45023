import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { Webhook as Signer } from 'standardwebhooks'
import type { ReadyEvent } from './event.js'
import { logger } from './logger.js'

const GONE = 410
const REQUEST_TIMEOUT_MS = 15_000
// The waits before the second and each later try. Standard Webhooks proposes retries for days. A
// consumer must poll again within minutes, so the program gives up earlier: it then ends without
// the commit, and Kafka delivers the event again after its restart.
const RETRY_WAITS_MS = [1_000, 5_000, 15_000, 30_000]

/**
 * Returns the percent-encoded id of an event. A header has no line breaks and no letters outside
 * ASCII, and a dot separates the signed parts. The examples in all languages return the same.
 */
function webhookId(id: string): string {
  const escape = (one: string) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`
  return encodeURIComponent(id).replace(/[.!*'()]/g, escape)
}

/** Sends events that are signed as Standard Webhooks (standardwebhooks.com) describes. */
export class Webhook {
  readonly #url: string
  readonly #signer: Signer
  #isGone = false

  private constructor(url: string, signer: Signer) {
    this.#url = url
    this.#signer = signer
  }

  /** Returns undefined if there is no address. */
  static from(url: string | undefined, secretFile: string | undefined): Webhook | undefined {
    if (!url) return undefined
    if (!secretFile) throw new Error('WEBHOOK_URL needs WEBHOOK_SECRET_FILE')
    return new Webhook(url, new Signer(readFileSync(secretFile, 'utf8').trim()))
  }

  /**
   * Retries until the receiver accepts the event. A receiver that answers 410 Gone gets no more
   * events.
   *
   * @throws if no try was accepted, or after a stop.
   */
  async send(event: ReadyEvent, stopping: AbortSignal): Promise<void> {
    if (this.#isGone) return
    const id = webhookId(event.id)
    for (const delay of [...RETRY_WAITS_MS, undefined]) {
      const result = await this.#post(id, event.body)
      if (result === 'accepted') return
      if (delay === undefined) throw new Error(`the webhook of ${id} was not accepted: ${result}`)
      logger.warn(`the webhook of ${id} failed, the next try follows in ${delay} ms: ${result}`)
      await wait(delay, undefined, { signal: stopping })
    }
  }

  /**
   * Makes one request. The id of the webhook belongs to the id of the event, so the receiver can
   * drop an event that it has already got.
   */
  async #post(id: string, body: string): Promise<string> {
    const now = new Date()
    const headers = {
      'content-type': 'application/cloudevents+json',
      'webhook-id': id,
      'webhook-timestamp': Math.floor(now.getTime() / 1000).toString(),
      'webhook-signature': this.#signer.sign(id, now, body),
    }
    try {
      const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
      const response = await fetch(this.#url, { method: 'POST', headers, body, signal })
      await response.arrayBuffer()
      if (response.ok) return 'accepted'
      if (response.status === GONE) {
        logger.warn('the receiver of the webhooks answered 410 Gone: it gets no more events')
        this.#isGone = true
        return 'accepted'
      }
      return `status ${response.status}`
    } catch (error) {
      return String(error)
    }
  }
}
