// The page's state. Panels render from it and subscribe to the keys they show; none knows another.

import { PACE_MS, paced } from "./pace.js";

/**
 * @typedef {object} State
 * @property {string | null} symbol null until the first one is known
 * @property {Interval} interval
 * @property {string} style
 * @property {string} overlays names, with commas between
 * @property {string} zone
 * @property {string} size
 * @property {string} sort
 * @property {string[]} symbols
 * @property {Map<string, SymbolSummary>} summaries of all symbols, by symbol
 * @property {SymbolSummary | undefined} current the chosen symbol's
 * @property {Summary["gauges"]} gauges
 * @property {Summary["class_gauges"]} classGauges
 * @property {Status | null} status
 * @property {ReplayState | null} replay
 * @property {number} lastEvent when the server last sent something; 0: the connection is broken
 * @property {number} skew ms that the server's clock is ahead of this one
 * @property {string | null} notice
 */

/** @typedef {(state: State) => void} Listener */

export class Store {
  /** @type {{keys: (keyof State)[], listener: Listener}[]} */
  #listeners = [];

  /** @param {State} initial */
  constructor(initial) {
    this.state = { ...initial };
  }

  /**
   * @template {keyof State} Key
   * @param {Key} key
   * @returns {State[Key]}
   */
  get(key) {
    return this.state[key];
  }

  // Sets several keys at once; calls each listener of a changed key once.
  /** @param {Partial<State>} patch */
  set(patch) {
    const changed = /** @type {(keyof State)[]} */ (Object.keys(patch)).filter((key) => this.state[key] !== patch[key]);
    if (changed.length === 0) return;
    Object.assign(this.state, patch);
    for (const { keys, listener } of this.#listeners) {
      if (keys.some((key) => changed.includes(key))) listener(this.state);
    }
  }

  // Calls `listener(state)` after changes of `keys`, and once now.
  /**
   * @param {(keyof State)[]} keys
   * @param {Listener} listener
   */
  on(keys, listener) {
    this.#listeners.push({ keys, listener });
    listener(this.state);
  }

  // Calls `listener(state)` after changes of `keys`, at most once in `ms`.
  /**
   * @param {(keyof State)[]} keys
   * @param {Listener} listener
   */
  onPaced(keys, listener, ms = PACE_MS) {
    const request = paced(() => listener(this.state), ms);
    this.#listeners.push({ keys, listener: request });
  }
}

// Of two summaries of a symbol the newer. One of the chosen symbol comes with each change of its candles,
// and overtakes those of all symbols, which are made each second.
/**
 * @param {SymbolSummary | undefined} held
 * @param {SymbolSummary | undefined} received
 */
export function newerSummary(held, received) {
  const isOlder = held && received && held.symbol === received.symbol && received.as_of < held.as_of;
  return isOlder ? held : received;
}

// Stocks trade in New York; what trades around the clock has UTC days.
/**
 * @param {State} state
 * @returns {string | undefined} an IANA name; undefined: the browser's
 */
export function shownZone({ zone, summaries, symbol }) {
  if (zone === "utc") return "UTC";
  if (zone === "browser") return undefined;
  return summaries.get(symbol ?? "")?.session === "continuous" ? "UTC" : "America/New_York";
}

/**
 * @param {State} state
 * @returns {import("./plot.js").View}
 */
export function chartView(state) {
  const { interval, style, overlays } = state;
  return { interval, style, overlays: overlays.split(",").filter(Boolean), zone: shownZone(state) };
}

// What the address holds, so that a view can be sent to somebody: name in the store, in the URL,
// default, and the values allowed (null: any).
/** @typedef {"symbol" | "interval" | "style" | "overlays" | "zone" | "size" | "sort"} AddressKey */
/** @type {[AddressKey, string, string | null, string[] | null][]} */
const IN_ADDRESS = [
  ["symbol", "symbol", null, null],
  ["interval", "interval", "1m", ["1m", "5m", "15m", "1h", "1d"]],
  ["style", "style", "candles", ["candles", "line"]],
  ["overlays", "overlays", "ma20", null],
  ["zone", "zone", "exchange", ["exchange", "browser", "utc"]],
  ["size", "size", "traded_value", ["traded_value", "volume", "price"]],
  ["sort", "sort", "symbol", ["symbol", "change", "volume", "relative"]],
];

/** @returns {Pick<State, AddressKey>} */
export function readAddress() {
  const asked = new URL(location.href).searchParams;
  const found = Object.fromEntries(IN_ADDRESS.map(([key, name, fallback, allowed]) => {
    const value = asked.get(name);
    return [key, value == null || (allowed && !allowed.includes(value)) ? fallback : value];
  }));
  return /** @type {Pick<State, AddressKey>} */ (found);
}

/** @param {State} state */
export function writeAddress(state) {
  const address = new URL(location.href);
  for (const [key, name, fallback] of IN_ADDRESS) {
    if (state[key] == null || state[key] === fallback) address.searchParams.delete(name);
    else address.searchParams.set(name, state[key]);
  }
  if (address.href !== location.href) history.replaceState(null, "", address);
}

export const ADDRESS_KEYS = IN_ADDRESS.map(([key]) => key);
