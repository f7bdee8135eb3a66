// The chart's time axis: continuous within a session, so that a minute without a candle leaves a gap.

export const WIDTH_MS = { "1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000 };
const LONGEST_GAP = 1500; // slots; a longer one (a weekend, days without the feed) is closed up

/** @typedef {ShownCandle & {empty?: undefined, uncovered?: undefined} | {start: number, empty: true, uncovered: boolean}} Slot */

// The candles with an entry of only `start` for each empty slot between two candles of one session.
// A slot is `uncovered` when the candle before or after the gap was not fully covered: the feed was
// away, in contrast to minutes in which nobody traded.
export function withGaps(candles, interval) {
  const width = WIDTH_MS[interval];
  if (!width) return candles;
  const slots = [];
  let before = null;
  for (const candle of candles) {
    if (before && before.session === candle.session && isSameSession(before, candle)) {
      const first = bucket(before.start, width) + width;
      const count = (bucket(candle.start, width) - first) / width;
      const uncovered = isCut(before, width) || isCut(candle, width);
      if (count <= LONGEST_GAP) {
        for (let start = first; start < candle.start; start += width) slots.push({ start, empty: true, uncovered });
      }
    }
    slots.push(candle);
    before = candle;
  }
  return slots;
}

// A continuous market has no end; a stock's session ends with its day.
function isSameSession(before, candle) {
  return candle.session === "continuous" || before.session_date === candle.session_date;
}

// Whether the feed was away for a part of the candle; of a forming one it is not known yet.
/** @param {ShownCandle} candle */
export function isCut(candle, width = WIDTH_MS["1m"]) {
  return candle.status !== "partial" && candle.covered_ms != null && candle.covered_ms < Math.min(width, candle.end - candle.start);
}

const bucket = (start, width) => start - (start % width);

// Runs of adjacent slots with the same value of `kind`; slots of kind null are left out.
export function runs(slots, kind) {
  const found = [];
  for (const slot of slots) {
    const value = kind(slot);
    const last = found.at(-1);
    if (last && last.open && last.kind === value) last.to = slot.start;
    else {
      if (last) last.open = false;
      if (value != null) found.push({ kind: value, from: slot.start, to: slot.start, open: true });
    }
  }
  return found;
}

// The candles of the newest one's session.
export function newestSession(candles) {
  const last = candles.at(-1);
  let first = candles.length - 1;
  while (first > 0 && candles[first - 1].session === last.session && candles[first - 1].session_date === last.session_date) first -= 1;
  return candles.slice(first);
}
