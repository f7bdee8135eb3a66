// Server-sent events of one symbol and interval; reconnects by itself, and continues with the changes
// after the last event.

const RETRY_MS = 2000;

/** @typedef {{symbol: string, interval: Interval, candles: ShownCandle[], has_older: boolean}} Snapshot */
/** @typedef {{symbol: string, candles: ShownCandle[], summary: SymbolSummary | null}} Update */
/**
 * @typedef {object} Handlers by the name of the event
 * @property {(snapshot: Snapshot) => void} snapshot
 * @property {(update: Update) => void} candles
 * @property {(summary: Summary) => void} summary
 * @property {(status: Status) => void} status
 * @property {() => void} error the connection broke
 */

export class Stream {
  /** @type {EventSource | null} */
  #source = null;

  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.handlers = handlers;
  }

  // `lastEventId`: continue after this event. Browsers send it by themselves while they reconnect, not
  // after an HTTP error, which ends an EventSource.
  /**
   * @param {string} symbol
   * @param {Interval} interval
   */
  open(symbol, interval, lastEventId = "") {
    this.#source?.close();
    const query = new URLSearchParams({ symbol, interval });
    if (lastEventId) query.set("last_event_id", lastEventId);
    const source = new EventSource(`/events?${query}`);
    this.#source = source;
    for (const [name, handle] of Object.entries(this.handlers)) {
      if (name === "error") continue;
      source.addEventListener(name, (event) => {
        if (source !== this.#source) return;
        lastEventId = event.lastEventId;
        handle(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      this.handlers.error();
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(() => source === this.#source && this.open(symbol, interval, lastEventId), RETRY_MS);
      }
    });
  }
}
