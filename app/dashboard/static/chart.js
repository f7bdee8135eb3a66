// Candlestick chart of one symbol and interval, drawn with TradingView's lightweight-charts.

import { Backdrop } from "./backdrop.js";
import * as format from "./format.js";
import { movedByKey } from "./keys.js";
import { drawLegend } from "./legend.js";
import { OVERLAYS } from "./overlays.js";
import { PACE_MS, paced } from "./pace.js";
import { isCut, newestSession, runs, withGaps } from "./sessions.js";

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
  #legendOfNewest;

  // `latest`: the button that returns to the newest candle, shown while that is out of view.
  // `loadOlder(before ms)` returns a promise of the candles that start before, oldest first.
  constructor(element, legend, latest, loadOlder) {
    const { createChart, CandlestickSeries, HistogramSeries, LineSeries } = window.LightweightCharts;
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
      layout: { attributionLogo: false, fontFamily: getComputedStyle(element).fontFamily }, // notice and link are in the footer
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
    /** @type {number | null} the start of the candle under the crosshair */
    this.pointed = null;
    this.#legendOfNewest = paced(() => this.#drawLegend(), PACE_MS);
    this.chart.subscribeCrosshairMove((move) => { // also after each frame
      const pointed = move.time ? Number(move.time) * 1000 : null;
      if (pointed === this.pointed) return;
      this.pointed = pointed;
      this.#drawLegend();
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      latest.hidden = !range || range.to > this.slots.length - 2;
      this.#loadWhenNear(range);
    });
    latest.addEventListener("click", () => this.showLatest());
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
    if (this.candles.size) this.#redraw();
  }

  // `view`: {style, overlays (names), zone (IANA name, undefined for the browser's), interval}.
  setView(view) {
    this.view = view;
    this.prices.applyOptions({ visible: view.style === "candles" });
    this.line.applyOptions({ visible: view.style === "line" });
    for (const [name, series] of Object.entries(this.overlays)) series.applyOptions({ visible: view.overlays.includes(name) });
    if (this.candles.size) this.#redraw();
  }

  setDigits(digits) {
    if (digits === this.digits) return;
    this.digits = digits;
    const written = { type: /** @type {const} */ ("price"), precision: digits, minMove: 10 ** -digits };
    for (const series of [this.prices, this.line, ...Object.values(this.overlays)]) series.applyOptions({ priceFormat: written });
    this.#drawLegend();
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
    this.#markLast();
    this.#legendOfNewest();
  }

  last() {
    return this.newest(1)[0];
  }

  newest(count) {
    return [...this.candles.values()].slice(-count);
  }

  /** @param {ShownCandle} candle */
  #append(candle) {
    if (this.view.style === "candles") this.prices.update(this.#bar(candle));
    else this.line.update({ time: seconds(candle.start), value: candle.close });
    this.volumes.update(this.#volume(candle));
    const replaced = this.slots.at(-1)?.start === candle.start ? this.slots.pop() : null;
    this.slots.push(candle);
    const candles = [...this.candles.values()];
    const session = this.view.interval === "1d" ? candles : newestSession(candles);
    for (const name of this.view.overlays) { // the hidden series follow with setView
      const value = OVERLAYS[name]?.values(session).at(-1);
      if (value?.value != null) this.overlays[name].update({ time: seconds(value.start), value: value.value });
    }
    if (!replaced || "empty" in replaced || isCut(replaced) !== isCut(candle)) this.#drawBackdrop();
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
    this.#markLast();
    this.#drawLegend();
  }

  #drawBackdrop() {
    const isHatched = (slot) => (slot.empty ? slot.uncovered : this.view.interval === "1m" && isCut(slot));
    const shaded = runs(this.slots, (slot) => (slot.session && !REGULAR.includes(slot.session) ? "shade" : null));
    const hatched = runs(this.slots, (slot) => (isHatched(slot) ? "hatch" : null));
    this.element.dataset.gaps = this.slots.filter((slot) => slot.empty).length;
    this.element.dataset.hatched = this.slots.filter(isHatched).length;
    const revised = this.view.style === "candles" ? this.slots.filter((slot) => "status" in slot && slot.status === "revised") : [];
    this.backdrop.set([...shaded, ...hatched], /** @type {ShownCandle[]} */ (revised), { shade: css("--shade"), hatch: css("--hatch"), dot: css("--accent") });
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

  #loadWhenNear(range) {
    if (range && this.candles.size && range.from <= LOAD_AHEAD) this.#load();
  }

  // Adds older candles on the left; false: none.
  async #load() {
    if (this.loading || !this.hasOlder || !this.candles.size) return false;
    this.loading = true;
    const { interval } = this.view;
    const [first] = this.candles.values();
    try {
      const older = await this.loadOlder(first.start);
      if (interval !== this.view.interval || first !== this.candles.values().next().value) return false;
      this.hasOlder = older.length > 0;
      if (older.length === 0) return false;
      const scale = this.chart.timeScale();
      const view = scale.getVisibleLogicalRange();
      const before = this.slots.length;
      this.candles = new Map([...older.map((candle) => [candle.start, candle]), ...this.candles]);
      this.#redraw();
      const added = this.slots.length - before;
      if (view) scale.setVisibleLogicalRange({ from: view.from + added, to: view.to + added });
      return true;
    } catch {
      this.hasOlder = true; // the server does not answer; the next move tries again
      return false;
    } finally {
      this.loading = false;
    }
  }

  // Moves the view to a time in the past, for which older candles are loaded.
  async showTime(ms) {
    while (this.candles.values().next().value?.start > ms && await this.#load());
    const { from, to } = this.chart.timeScale().getVisibleLogicalRange() ?? {};
    if (from === undefined) return;
    const found = this.slots.findIndex((slot) => slot.start > ms);
    const end = (found < 0 ? this.slots.length : found) + 3;
    this.chart.timeScale().setVisibleLogicalRange({ from: end - (to - from), to: end });
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
  #markLast() {
    const last = this.last();
    const price = last?.close ?? 0;
    const color = last && last.close < last.open ? this.colours.down : this.colours.up;
    const line = this.lastLines[this.view.style === "candles" ? 0 : 1];
    const drawn = line.options();
    if (drawn.price !== price || drawn.color !== color || drawn.lineVisible !== Boolean(last)) line.applyOptions({ price, color, lineVisible: Boolean(last), axisLabelVisible: Boolean(last) });
    this.element.dataset.candles = this.candles.size;
    if (!last) return;
    this.element.dataset.lastStart = last.start;
    this.element.dataset.lastClose = last.close;
    this.element.dataset.lastStatus = last.status;
  }

  // At once: an animation, as of scrollToRealTime, ends early when the chart is redrawn meanwhile.
  showLatest() {
    const scale = this.chart.timeScale();
    const { from, to } = scale.getVisibleLogicalRange();
    const end = this.slots.length + 3;
    scale.setVisibleLogicalRange({ from: end - (to - from), to: end });
    this.element.dispatchEvent(new CustomEvent("latest"));
  }

  #key(event) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range || event.ctrlKey || event.metaKey || event.altKey) return;
    const moved = movedByKey(range, event.key);
    if (event.key === "End") this.showLatest();
    else if (moved) scale.setVisibleLogicalRange(moved);
    else return;
    event.preventDefault();
  }

  // That of the candle under the crosshair, or of the newest.
  #drawLegend() {
    const shown = this.candles.get(this.pointed) ?? this.last();
    if (shown) return drawLegend(this.legend, shown, this.earlier.get(shown.start), this.view, this.digits);
    this.legend.replaceChildren();
    delete this.legend.dataset.shown;
  }
}
