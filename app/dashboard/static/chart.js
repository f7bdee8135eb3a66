// Candlestick chart of one symbol and interval, drawn with TradingView's lightweight-charts.

import { Backdrop } from "./backdrop.js";
import * as format from "./format.js";
import { OVERLAYS } from "./overlays.js";
import { isCut, runs, withGaps } from "./sessions.js";

const MAX_CANDLES = 6000; // a page that stays open for days drops its oldest candles
const KEPT_CANDLES = 5000;
const FIRST_VIEW = 120;
const LOAD_AHEAD = 30; // candles left of the view when older ones are requested
const FLASH_MS = 1500;
const REGULAR = ["regular", "continuous"];

/** @returns {import("lightweight-charts").UTCTimestamp} */
const seconds = (ms) => /** @type {any} */ (ms / 1000);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class CandleChart {
  // `latest`: the button that returns to the newest candle, shown while that is out of view.
  // `loadOlder(before ms)` returns a promise of the candles that start before, oldest first.
  constructor(element, legend, latest, loadOlder) {
    const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries, LineSeries } = window.LightweightCharts;
    this.element = element;
    this.legend = legend;
    this.loadOlder = loadOlder;
    this.digits = 2;
    this.view = { interval: "1m", style: "candles", overlays: [], zone: undefined };
    /** @type {Map<number, ShownCandle>} */
    this.candles = new Map();
    /** @type {Map<number, ShownCandle>} */
    this.earlier = new Map(); // of candles that were revised while the page was open: the version before
    /** @type {import("./sessions.js").Slot[]} */
    this.slots = [];
    this.hasOlder = true;
    this.loading = false;
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false }, // notice and link are in the footer
      timeScale: { timeVisible: true, rightOffset: 3, tickMarkFormatter: (seconds) => this.#tick(seconds) },
      localization: { timeFormatter: (seconds) => this.#time(seconds) },
    });
    const unmarked = { lastValueVisible: false, priceLineVisible: false }; // see #markLast
    this.prices = this.chart.addSeries(CandlestickSeries, unmarked);
    this.line = this.chart.addSeries(LineSeries, { lineWidth: 2, visible: false, ...unmarked });
    this.lastLines = [this.prices, this.line].map((series) => series.createPriceLine({ price: 0, lineStyle: 2, lineWidth: 1, lineVisible: false, axisLabelVisible: false }));
    this.overlays = Object.fromEntries(Object.keys(OVERLAYS).map((name) => [name, this.chart.addSeries(LineSeries, {
      lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false, visible: false,
    })]));
    this.volumes = this.chart.addSeries(HistogramSeries, { priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false }, 1);
    this.chart.panes()[1].setHeight(90);
    this.backdrop = new Backdrop();
    this.prices.attachPrimitive(this.backdrop);
    this.markers = createSeriesMarkers(this.prices, []);
    this.chart.subscribeCrosshairMove((move) => this.#drawLegend(move.time ? this.candles.get(Number(move.time) * 1000) : null));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      latest.hidden = !range || range.to > this.slots.length - 2;
      this.#loadWhenNear(range);
    });
    latest.addEventListener("click", () => this.#showLatest());
    element.addEventListener("keydown", (event) => this.#key(event));
    this.paint();
  }

  // Takes the colours of the page's theme.
  paint() {
    const [up, down, ink, grid, accent] = ["--up", "--down", "--soft", "--grid", "--accent"].map(css);
    this.colours = { up, down, upVolume: css("--up-volume"), downVolume: css("--down-volume"), forming: css("--soft"), flash: accent };
    this.chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: ink, panes: { separatorColor: grid } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      timeScale: { borderColor: grid },
      rightPriceScale: { borderColor: grid },
    });
    this.prices.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down });
    this.line.applyOptions({ color: accent });
    for (const [name, series] of Object.entries(this.overlays)) series.applyOptions({ color: css(OVERLAYS[name].colour) });
    this.#redraw();
  }

  // `view`: {style, overlays (names), zone (IANA name, undefined for the browser's), interval}.
  setView(view) {
    this.view = view;
    this.prices.applyOptions({ visible: view.style === "candles" });
    this.line.applyOptions({ visible: view.style === "line" });
    for (const [name, series] of Object.entries(this.overlays)) series.applyOptions({ visible: view.overlays.includes(name) });
    this.#redraw();
  }

  setDigits(digits) {
    if (digits === this.digits) return;
    this.digits = digits;
    const written = { type: /** @type {const} */ ("price"), precision: digits, minMove: 10 ** -digits };
    for (const series of [this.prices, this.line, ...Object.values(this.overlays)]) series.applyOptions({ priceFormat: written });
    this.#drawLegend(null);
  }

  // Replaces all candles. A chart that already shows the symbol and interval keeps its view.
  show(candles, { keepView = false } = {}) {
    const held = keepView ? this.chart.timeScale().getVisibleRange() : null;
    const older = keepView && candles.length ? [...this.candles.values()].filter(({ start }) => start < candles[0].start) : [];
    this.candles = new Map([...older, ...candles].map((candle) => [candle.start, candle]));
    if (!keepView) {
      this.hasOlder = true;
      this.earlier.clear();
    }
    this.#redraw();
    if (held) return this.chart.timeScale().setVisibleRange(held);
    const count = this.slots.length;
    const shown = Math.min(FIRST_VIEW, Math.max(40, count));
    this.chart.timeScale().setVisibleLogicalRange({ from: count - shown, to: count + 3 });
  }

  /** @param {ShownCandle[]} candles */
  merge(candles) {
    const newest = this.last();
    const revised = candles.filter((candle) => candle.revision > (this.candles.get(candle.start)?.revision ?? Infinity));
    for (const candle of revised) this.earlier.set(candle.start, this.candles.get(candle.start));
    const isAppend = newest && candles.every((candle) => candle.start === newest.start || candle.start === newest.end);
    for (const candle of candles) this.candles.set(candle.start, candle);
    if (!isAppend || revised.length || this.candles.size > MAX_CANDLES) {
      const sorted = [...this.candles].sort(([a], [b]) => a - b);
      this.candles = new Map(sorted.length > MAX_CANDLES ? sorted.slice(-KEPT_CANDLES) : sorted);
      this.#redraw();
    } else for (const candle of candles) this.#append(candle);
    if (revised.length) this.#flash(revised);
    this.#drawLegend(null);
  }

  last() {
    return this.newest(1)[0];
  }

  newest(count) {
    return [...this.candles.values()].slice(-count);
  }

  /** @param {ShownCandle} candle */
  #append(candle) {
    this.prices.update(this.#bar(candle));
    this.line.update({ time: seconds(candle.start), value: candle.close });
    this.volumes.update(this.#volume(candle));
    const replaced = this.slots.at(-1)?.start === candle.start ? this.slots.pop() : null;
    this.slots.push(candle);
    for (const [name, series] of Object.entries(this.overlays)) {
      const value = OVERLAYS[name].values(this.#session()).at(-1);
      if (value?.value != null) series.update({ time: seconds(value.start), value: value.value });
    }
    if (!replaced || "empty" in replaced || isCut(replaced) !== isCut(candle)) this.#drawBackdrop();
  }

  // The candles of the newest one's session, which its overlays are computed from.
  #session() {
    const all = [...this.candles.values()];
    const last = all.at(-1);
    let first = all.length - 1;
    while (first > 0 && all[first - 1].session === last.session && all[first - 1].session_date === last.session_date) first -= 1;
    return all.slice(this.view.interval === "1d" ? 0 : first);
  }

  #redraw() {
    const candles = [...this.candles.values()];
    this.slots = withGaps(candles, this.view.interval);
    const at = (draw) => this.slots.map((slot) => (slot.empty ? { time: seconds(slot.start) } : draw(slot)));
    // a line is drawn in the colour of the point that it starts from
    const beforeGap = new Set(this.slots.filter((slot, index) => !slot.empty && this.slots[index + 1]?.empty).map(({ start }) => start));
    this.prices.setData(at((candle) => this.#bar(candle)));
    this.line.setData(at(({ start, close }) => ({ time: seconds(start), value: close, ...(beforeGap.has(start) ? { color: "transparent" } : {}) })));
    this.volumes.setData(at((candle) => this.#volume(candle)));
    for (const [name, series] of Object.entries(this.overlays)) {
      series.setData(OVERLAYS[name].values(candles).map(({ start, value }) => {
        const time = seconds(start);
        if (value == null) return { time };
        return beforeGap.has(start) ? { time, value, color: "transparent" } : { time, value };
      }));
    }
    this.#drawBackdrop();
    this.#drawMarkers();
    this.#drawLegend(null);
  }

  #drawBackdrop() {
    const isHatched = (slot) => (slot.empty ? slot.uncovered : this.view.interval === "1m" && isCut(slot));
    const shaded = runs(this.slots, (slot) => (slot.session && !REGULAR.includes(slot.session) ? "shade" : null));
    const hatched = runs(this.slots, (slot) => (isHatched(slot) ? "hatch" : null));
    this.element.dataset.gaps = this.slots.filter((slot) => slot.empty).length;
    this.element.dataset.hatched = this.slots.filter(isHatched).length;
    this.backdrop.set([...shaded, ...hatched], { shade: css("--shade"), hatch: css("--hatch") });
  }

  #drawMarkers() {
    const revised = [...this.candles.values()].filter(({ status }) => status === "revised");
    this.markers.setMarkers(this.view.style !== "candles" ? [] : revised.map((candle) => ({
      time: seconds(candle.start), position: "aboveBar", shape: "circle", size: 0.6, color: css("--accent"),
    })));
  }

  // A revised candle is drawn in the accent colour for a moment.
  #flash(candles) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.flashing = new Set(candles.map(({ start }) => start));
    this.#redraw();
    clearTimeout(this.flashEnd);
    this.flashEnd = setTimeout(() => { this.flashing = null; this.#redraw(); }, FLASH_MS);
  }

  /** @param {ShownCandle} candle */
  #bar({ start, open, high, low, close, status }) {
    const point = { time: seconds(start), open, high, low, close };
    if (this.flashing?.has(start)) return { ...point, color: this.colours.flash, borderColor: this.colours.flash, wickColor: this.colours.flash };
    if (status === "partial") return { ...point, color: "transparent" }; // forming: hollow
    return point;
  }

  /** @param {ShownCandle} candle */
  #volume({ start, open, close, volume }) {
    return { time: seconds(start), value: volume ?? 0, color: close >= open ? this.colours.upVolume : this.colours.downVolume };
  }

  async #loadWhenNear(range) {
    const [first] = this.candles.values();
    if (!range || !first || this.loading || !this.hasOlder || range.from > LOAD_AHEAD) return;
    this.loading = true;
    const { interval } = this.view;
    try {
      const older = await this.loadOlder(first.start);
      if (interval !== this.view.interval || first !== this.candles.values().next().value) return;
      this.hasOlder = older.length > 0;
      if (older.length === 0) return;
      const scale = this.chart.timeScale();
      const view = scale.getVisibleLogicalRange();
      const before = this.slots.length;
      this.candles = new Map([...older.map((candle) => [candle.start, candle]), ...this.candles]);
      this.#redraw();
      const added = this.slots.length - before;
      if (view) scale.setVisibleLogicalRange({ from: view.from + added, to: view.to + added });
    } catch {
      this.hasOlder = true; // the server does not answer; the next move tries again
    } finally {
      this.loading = false;
    }
  }

  #tick(seconds) {
    const ms = seconds * 1000;
    return this.view.interval === "1d" || format.isMidnight(ms, this.view.zone) ? format.day(ms, this.view.zone) : format.minute(ms, this.view.zone);
  }

  #time(seconds) {
    const ms = seconds * 1000;
    if (this.view.interval === "1d") return format.day(ms, this.view.zone);
    return `${format.dayAndMinute(ms, this.view.zone)} (${format.utc(ms).slice(11, 16)} UTC)`;
  }

  // The last price on the axis, in the colour of its candle. The series' own mark takes the colour of
  // the candle's body, which a forming one does not have.
  /** @param {ShownCandle} last */
  #markLast(last) {
    const color = last && last.close < last.open ? this.colours.down : this.colours.up;
    for (const line of this.lastLines) line.applyOptions({ price: last?.close ?? 0, color, lineVisible: Boolean(last), axisLabelVisible: Boolean(last) });
  }

  // At once: an animation, as of scrollToRealTime, ends early when the chart is redrawn meanwhile.
  #showLatest() {
    const scale = this.chart.timeScale();
    const { from, to } = scale.getVisibleLogicalRange();
    const end = this.slots.length + 3;
    scale.setVisibleLogicalRange({ from: end - (to - from), to: end });
  }

  #key(event) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (range.to - range.from) / 8;
    const moves = {
      ArrowLeft: [-step, -step], ArrowRight: [step, step], "+": [step, 0], "=": [step, 0], "-": [-step, 0],
    };
    if (event.key === "End") this.#showLatest();
    else if (moves[event.key]) scale.setVisibleLogicalRange({ from: range.from + moves[event.key][0], to: range.to + moves[event.key][1] });
    else return;
    event.preventDefault();
  }

  /** @param {ShownCandle | null} candle */
  #drawLegend(candle) {
    const shown = candle ?? this.last();
    const last = this.last();
    this.element.dataset.candles = this.candles.size;
    this.#markLast(last);
    if (!shown) return this.legend.replaceChildren();
    this.element.dataset.lastStart = last.start;
    this.element.dataset.lastClose = last.close;
    this.element.dataset.lastStatus = last.status;
    const price = (value) => format.price(value, this.digits);
    const moment = document.createElement("b");
    moment.append(this.view.interval === "1d" ? format.day(shown.start, this.view.zone) : format.time(shown.start, { zone: this.view.zone }));
    const words = [["O", price(shown.open)], ["H", price(shown.high)], ["L", price(shown.low)], ["C", price(shown.close)],
      ["Volume", format.compact(shown.volume)], ["VWAP", price(shown.vwap)], ["Trades", format.exact(shown.trade_count)]];
    if (shown.covered_ms != null && shown.status !== "partial" && this.view.interval === "1m") words.push(["Covered", `${Math.round(shown.covered_ms / 600)} %`]);
    const changes = changed(this.earlier.get(shown.start), shown, price);
    this.legend.replaceChildren(moment, ...words.flatMap(([name, text]) => [`  ${name} `, bold(text)]), `  ${describe(shown)}${changes}`);
  }
}

const STATUS = { partial: "forming", final: "final", revised: "revised" };

/** @param {ShownCandle} candle */
export function statusOf(candle) {
  const revision = candle.status === "revised" ? ` (${candle.revision})` : "";
  const origin = candle.source === "gold" ? ", from the warehouse" : "";
  return (STATUS[candle.status] ?? candle.status) + revision + origin;
}

const describe = (candle) => statusOf(candle) + (candle.session === "continuous" ? "" : ` · ${candle.session}`);

/**
 * What a revision changed: " · before: close 101.20, volume 1.2K, 5 trades".
 * @param {ShownCandle | undefined} before
 * @param {ShownCandle} candle
 */
function changed(before, candle, price) {
  if (!before) return "";
  const words = ["open", "high", "low", "close"].filter((key) => before[key] !== candle[key]).map((key) => `${key} ${price(before[key])}`);
  if (before.volume !== candle.volume) words.push(`volume ${format.compact(before.volume)}`);
  if (before.trade_count !== candle.trade_count) words.push(`${format.exact(before.trade_count)} trades`);
  return words.length ? ` · before: ${words.join(", ")}` : "";
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}
