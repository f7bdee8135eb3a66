// Lines over the candles. Each restarts with a session (longer intervals with a day's candles do not).

export const OVERLAYS = {
  ma20: { title: "Mean of 20", colour: "--accent", values: (candles) => movingAverage(candles, 20) },
  ma50: { title: "Mean of 50", colour: "--second", values: (candles) => movingAverage(candles, 50) },
  vwap: { title: "VWAP of the session", colour: "--third", values: sessionVwap },
};

// Mean of the session's last closes, as trend_line in gold for 20.
function movingAverage(candles, length) {
  let closes = [];
  let sum = 0;
  return perSession(candles, () => { closes = []; sum = 0; }, (candle) => {
    closes.push(candle.close);
    sum += candle.close;
    if (closes.length > length) sum -= closes.shift();
    return sum / closes.length;
  });
}

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

/** @param {ShownCandle[]} candles */
function perSession(candles, restart, next) {
  let before = null;
  return candles.map((candle) => {
    const isDay = candle.end - candle.start > 3_600_000;
    const isNew = !before || before.session !== candle.session || (!isDay && before.session_date !== candle.session_date);
    if (isNew) restart();
    before = candle;
    return { start: candle.start, value: next(candle) };
  });
}
