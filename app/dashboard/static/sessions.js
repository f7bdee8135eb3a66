// The chart's time axis: continuous within a session, so that a minute without a candle leaves a gap.

/** @type {Partial<Record<Interval, number>>} a day has no width: its length follows its session */
const WIDTH_MS = { "1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000 };
const LONGEST_GAP = 1500; // slots; a longer one (a weekend, days without the feed) is closed up

/** @typedef {{start: number, empty: true, uncovered: boolean}} Gap */
/** @typedef {ShownCandle | Gap} Slot */

/**
 * @param {Slot} slot
 * @returns {slot is ShownCandle}
 */
export const isCandle = (slot) => !("empty" in slot);

// The candles with an entry of only `start` for each empty slot between two candles of one session.
// A slot is `uncovered` when the candle before or after the gap was not fully covered: the feed was
// away, in contrast to minutes in which nobody traded.
/**
 * @param {ShownCandle[]} candles
 * @param {Interval} interval
 * @returns {Slot[]}
 */
export function withGaps(candles, interval) {
  const width = WIDTH_MS[interval];
  if (!width) return [...candles];
  /** @type {Slot[]} */
  const slots = [];
  candles.forEach((candle, index) => {
    const before = candles[index - 1];
    if (before && before.session === candle.session && isSameSession(before, candle)) {
      const first = bucket(before.start, width) + width;
      const count = (bucket(candle.start, width) - first) / width;
      const uncovered = isCut(before, width) || isCut(candle, width);
      if (count <= LONGEST_GAP) {
        for (let start = first; start < candle.start; start += width) slots.push({ start, empty: true, uncovered });
      }
    }
    slots.push(candle);
  });
  return slots;
}

// A continuous market has no end; a stock's session ends with its day.
/**
 * @param {ShownCandle} before
 * @param {ShownCandle} candle
 */
function isSameSession(before, candle) {
  return candle.session === "continuous" || before.session_date === candle.session_date;
}

// Whether the feed was away for a part of the candle; of a forming one it is not known yet.
/** @param {ShownCandle} candle */
export function isCut(candle, width = 60_000) {
  return candle.status !== "partial" && candle.covered_ms != null && candle.covered_ms < Math.min(width, candle.end - candle.start);
}

/**
 * @param {number} start
 * @param {number} width
 */
const bucket = (start, width) => start - (start % width);

// Runs of adjacent slots that fulfil the condition: the starts of the first and the last of each.
/**
 * @param {Slot[]} slots
 * @param {(slot: Slot) => boolean} condition
 */
export function runs(slots, condition) {
  /** @type {{from: number, to: number}[]} */
  const found = [];
  slots.forEach((slot, index) => {
    if (!condition(slot)) return;
    const last = found.at(-1);
    if (last && index > 0 && last.to === slots[index - 1].start) last.to = slot.start;
    else found.push({ from: slot.start, to: slot.start });
  });
  return found;
}

// The candles of the newest one's session.
/** @param {ShownCandle[]} candles */
export function newestSession(candles) {
  const last = candles[candles.length - 1];
  let first = candles.length - 1;
  while (first > 0 && candles[first - 1].session === last.session && candles[first - 1].session_date === last.session_date) first -= 1;
  return candles.slice(first);
}
