// Lines over the candles. Each restarts with a session (longer intervals with a day's candles do not).

/** @typedef {{start: number, value: number | null}} Point */

export const OVERLAYS = {
  ma20: { colour: "--accent", values: (/** @type {ShownCandle[]} */ candles) => movingAverage(candles, 20) },
  ma50: { colour: "--second", values: (/** @type {ShownCandle[]} */ candles) => movingAverage(candles, 50) },
  vwap: { colour: "--third", values: sessionVwap },
};

/**
 * @param {string} name
 * @returns {name is keyof typeof OVERLAYS}
 */
export const isOverlay = (name) => name in OVERLAYS;

// Mean of the session's last closes, as trend_line in gold for 20.
/**
 * @param {ShownCandle[]} candles
 * @param {number} length
 */
function movingAverage(candles, length) {
  /** @type {number[]} */
  let closes = [];
  let sum = 0;
  return perSession(candles, () => { closes = []; sum = 0; }, ({ close }) => {
    closes.push(close);
    sum += close;
    if (closes.length > length) sum -= closes.shift() ?? 0;
    return sum / closes.length;
  });
}

/** @param {ShownCandle[]} candles */
function sessionVwap(candles) {
  let [notional, volume] = [0, 0];
  return perSession(candles, () => { notional = volume = 0; }, (candle) => {
    if (candle.vwap != null && candle.volume) {
      notional += candle.vwap * candle.volume;
      volume += candle.volume;
    }
    return volume ? notional / volume : null;
  });
}

/**
 * @param {ShownCandle[]} candles
 * @param {() => void} restart
 * @param {(candle: ShownCandle) => number | null} next
 * @returns {Point[]}
 */
function perSession(candles, restart, next) {
  /** @type {ShownCandle | null} */
  let before = null;
  return candles.map((candle) => {
    const isDay = candle.end - candle.start > 3_600_000;
    const isNew = !before || before.session !== candle.session || (!isDay && before.session_date !== candle.session_date);
    if (isNew) restart();
    before = candle;
    return { start: candle.start, value: next(candle) };
  });
}
