// Candlestick chart of one symbol, drawn with TradingView's lightweight-charts.

import * as format from "./format.js";

const MAX_CANDLES = 3000; // a page that stays open for days drops its oldest candles
const FIRST_VIEW = 120;
const TREND = 20;
const STATUS = { partial: "forming", final: "final", revised: "revised" };

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function tickMark(seconds) {
  const ms = seconds * 1000;
  const local = new Date(ms);
  return local.getHours() === 0 && local.getMinutes() === 0 ? format.day(ms) : format.minute(ms);
}

export class CandleChart {
  constructor(element, legend) {
    const { createChart, CandlestickSeries, HistogramSeries, LineSeries } = window.LightweightCharts;
    this.element = element;
    this.legend = legend;
    this.digits = 2;
    this.candles = new Map();
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false }, // notice and link are in the footer
      timeScale: { timeVisible: true, tickMarkFormatter: tickMark, rightOffset: 3 },
      localization: { timeFormatter: (seconds) => `${format.dayAndMinute(seconds * 1000)} (${format.utc(seconds * 1000).slice(11, 16)} UTC)` },
    });
    this.prices = this.chart.addSeries(CandlestickSeries, {});
    this.trend = this.chart.addSeries(LineSeries, {
      lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false,
    });
    this.volumes = this.chart.addSeries(HistogramSeries, { priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false }, 1);
    this.chart.panes()[1].setHeight(80);
    this.chart.subscribeCrosshairMove((move) => this.#drawLegend(move.time ? this.candles.get(move.time * 1000) : null));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
    this.#paint();
  }

  #paint() {
    const [up, down, ink, grid] = ["--up", "--down", "--soft", "--grid"].map(css);
    this.chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: ink, panes: { separatorColor: grid } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      timeScale: { borderColor: grid },
      rightPriceScale: { borderColor: grid },
    });
    this.prices.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down });
    this.trend.applyOptions({ color: css("--accent") });
    this.volumes.applyOptions({ color: css("--volume") });
  }

  setDigits(digits) {
    if (digits === this.digits) return;
    this.digits = digits;
    const written = { type: "price", precision: digits, minMove: 10 ** -digits };
    this.prices.applyOptions({ priceFormat: written });
    this.trend.applyOptions({ priceFormat: written });
    this.#drawLegend(null);
  }

  show(candles) {
    this.candles = new Map(candles.map((candle) => [candle.start, candle]));
    this.#redraw();
    const shown = Math.min(FIRST_VIEW, Math.max(40, candles.length));
    this.chart.timeScale().setVisibleLogicalRange({ from: candles.length - shown, to: candles.length + 3 });
  }

  merge(candles) {
    const newest = this.last()?.start ?? -Infinity;
    const onlyAtTheEnd = candles.every((candle) => candle.start >= newest);
    for (const candle of candles) this.candles.set(candle.start, candle);
    if (!onlyAtTheEnd || this.candles.size > MAX_CANDLES) {
      this.candles = new Map([...this.candles].sort(([a], [b]) => a - b).slice(-MAX_CANDLES / 2));
      this.#redraw();
      return;
    }
    for (const candle of candles) {
      this.prices.update(bar(candle));
      this.volumes.update(volume(candle));
      this.trend.update({ time: candle.start / 1000, value: this.#trendAt(candle) });
    }
    this.#drawLegend(null);
  }

  last() {
    return this.newest(1)[0];
  }

  newest(count) {
    return [...this.candles.values()].slice(-count);
  }

  #redraw() {
    const candles = [...this.candles.values()];
    this.prices.setData(candles.map(bar));
    this.volumes.setData(candles.map(volume));
    this.trend.setData(trendLine(candles));
    this.#drawLegend(null);
  }

  #trendAt(candle) {
    const until = this.newest(TREND + 5).filter((other) => other.start <= candle.start);
    return trendLine(until).at(-1).value;
  }

  #drawLegend(candle) {
    const shown = candle ?? this.last();
    this.legend.replaceChildren();
    const last = this.last();
    this.element.dataset.candles = this.candles.size;
    if (!shown) return;
    this.element.dataset.lastStart = last.start;
    this.element.dataset.lastClose = last.close;
    this.element.dataset.lastStatus = last.status;
    const moment = document.createElement("b");
    moment.append(format.time(shown.start));
    this.legend.append(moment);
    for (const [name, key] of [["O", "open"], ["H", "high"], ["L", "low"], ["C", "close"]]) {
      this.legend.append(`  ${name} `, bold(format.price(shown[key], this.digits)));
    }
    this.legend.append("  Volume ", bold(format.compact(shown.volume)), ` · ${statusOf(shown)} · ${shown.session}`);
  }
}

export function statusOf(candle) {
  const revision = candle.status === "revised" ? ` (${candle.revision})` : "";
  const origin = candle.source === "gold" ? ", from the warehouse" : "";
  return (STATUS[candle.status] ?? candle.status) + revision + origin;
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

const bar = ({ start, open, high, low, close }) => ({ time: start / 1000, open, high, low, close });
const volume = ({ start, volume }) => ({ time: start / 1000, value: volume ?? 0 });

// Mean of the session's last 20 closes, like trend_line in gold.
function trendLine(candles) {
  let closes = [];
  let before = null;
  return candles.map((candle) => {
    if (before?.session_date !== candle.session_date || before.session !== candle.session) closes = [];
    before = candle;
    closes.push(candle.close);
    if (closes.length > TREND) closes.shift();
    return { time: candle.start / 1000, value: closes.reduce((sum, close) => sum + close, 0) / closes.length };
  });
}
