// The plot: TradingView's lightweight-charts with the series of prices, volumes and overlays.

import { Backdrop } from "./backdrop.js";
import * as format from "./format.js";
import { OVERLAYS, isOverlay } from "./overlays.js";
import { isCandle, isCut, newestSession, runs } from "./sessions.js";

/** @typedef {import("lightweight-charts").UTCTimestamp} UTCTimestamp */
/** @typedef {import("./sessions.js").Slot} Slot */
/** @typedef {{interval: Interval, style: string, overlays: string[], zone: string | undefined}} View `zone`: an IANA name; undefined: the browser's */
/** @typedef {ReturnType<typeof themeColours>} Colours */

const REGULAR = ["regular", "continuous"];
const VOLUME_HEIGHT = 90;

/** @param {number} ms */
const seconds = (ms) => /** @type {UTCTimestamp} */ (ms / 1000);

function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const css = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    up: css("--up"), down: css("--down"), upVolume: css("--up-volume"), downVolume: css("--down-volume"), ink: css("--soft"), grid: css("--grid"), accent: css("--accent"), shade: css("--shade"), hatch: css("--hatch"),
    overlay: (/** @type {keyof typeof OVERLAYS} */ name) => css(OVERLAYS[name].colour),
  };
}

// Hidden series hold nothing: each takes part in every layout of the time axis.
/**
 * @param {import("lightweight-charts").ISeriesApi<"Line">} series
 * @param {(import("lightweight-charts").LineData | import("lightweight-charts").WhitespaceData)[]} points
 */
function fill(series, points) {
  if (points.length || series.data().length) series.setData(points);
}

export class Plot {
  /**
   * @param {HTMLElement} element
   * @param {View} view
   */
  constructor(element, view) {
    const { createChart, CandlestickSeries, HistogramSeries, LineSeries } = window.LightweightCharts;
    this.element = element;
    this.view = view;
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: getComputedStyle(element).fontFamily }, // notice and link are in the footer
      timeScale: { timeVisible: true, rightOffset: 3, tickMarkFormatter: (/** @type {UTCTimestamp} */ time) => this.#tick(time * 1000) },
      localization: { timeFormatter: (/** @type {UTCTimestamp} */ time) => this.#time(time * 1000) },
    });
    const unmarked = { lastValueVisible: false, priceLineVisible: false }; // see markLast
    this.prices = this.chart.addSeries(CandlestickSeries, unmarked);
    this.line = this.chart.addSeries(LineSeries, { lineWidth: 2, visible: false, ...unmarked });
    const lastLine = /** @type {const} */ ({ price: 0, lineStyle: 2, lineWidth: 1, lineVisible: false, axisLabelVisible: false });
    this.lastLines = { candles: this.prices.createPriceLine(lastLine), line: this.line.createPriceLine(lastLine) };
    const overlay = () => this.chart.addSeries(LineSeries, { lineWidth: 1, crosshairMarkerVisible: false, visible: false, ...unmarked });
    this.overlays = { ma20: overlay(), ma50: overlay(), vwap: overlay() };
    this.volumes = this.chart.addSeries(HistogramSeries, { priceFormat: { type: "volume" }, ...unmarked }, 1);
    this.chart.panes()[1].setHeight(VOLUME_HEIGHT);
    this.backdrop = new Backdrop();
    this.prices.attachPrimitive(this.backdrop);
    this.colours = this.#paint();
  }

  // Takes the colours of the page's theme; those of single candles follow with `draw`.
  paint() {
    this.colours = this.#paint();
  }

  #paint() {
    const colours = themeColours();
    const { up, down, ink, grid, accent } = colours;
    this.chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: ink, panes: { separatorColor: grid } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      timeScale: { borderColor: grid },
      rightPriceScale: { borderColor: grid },
    });
    this.prices.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down });
    this.line.applyOptions({ color: accent });
    for (const name of this.#overlayNames()) this.overlays[name].applyOptions({ color: colours.overlay(name) });
    return colours;
  }

  /** @param {View} view */
  setView(view) {
    this.view = view;
    this.prices.applyOptions({ visible: view.style === "candles" });
    this.line.applyOptions({ visible: view.style === "line" });
    for (const name of this.#overlayNames()) this.overlays[name].applyOptions({ visible: view.overlays.includes(name) });
  }

  /** @param {number} digits */
  setDigits(digits) {
    // not 10 ** -digits: V8 of 2023 makes 0.00009999999999999999 of 10 ** -4
    const priceFormat = /** @type {const} */ ({ type: "price", precision: digits, minMove: 1 / 10 ** digits });
    for (const series of [this.prices, this.line, ...Object.values(this.overlays)]) series.applyOptions({ priceFormat });
  }

  #overlayNames() {
    return Object.keys(this.overlays).filter(isOverlay);
  }

  /**
   * Draws all candles.
   * @param {Slot[]} slots
   * @param {Set<number>} flashing starts of candles in the accent colour
   */
  draw(slots, flashing) {
    // a line is drawn in the colour of the point that it starts from
    const beforeGap = new Set(slots.filter((slot, index) => isCandle(slot) && index + 1 < slots.length && !isCandle(slots[index + 1])).map(({ start }) => start));
    const noLine = (/** @type {number} */ start) => (beforeGap.has(start) ? { color: "transparent" } : {});
    this.prices.setData(slots.map((slot) => (isCandle(slot) ? this.#bar(slot, flashing.has(slot.start)) : { time: seconds(slot.start) })));
    fill(this.line, this.view.style === "line" ? slots.map((slot) => (isCandle(slot) ? { time: seconds(slot.start), value: slot.close, ...noLine(slot.start) } : { time: seconds(slot.start) })) : []);
    this.volumes.setData(slots.map((slot) => (isCandle(slot) ? this.#volume(slot) : { time: seconds(slot.start) })));
    const candles = slots.filter(isCandle);
    for (const name of this.#overlayNames()) {
      const points = this.view.overlays.includes(name) ? OVERLAYS[name].values(candles) : [];
      fill(this.overlays[name], points.map(({ start, value }) => (value == null ? { time: seconds(start) } : { time: seconds(start), value, ...noLine(start) })));
    }
    this.drawBackdrop(slots);
  }

  /**
   * Draws the newest candle, the last of `slots`. Series that are hidden follow with `draw`.
   * @param {Slot[]} slots
   * @param {ShownCandle} candle
   */
  update(slots, candle) {
    if (this.view.style === "candles") this.prices.update(this.#bar(candle, false));
    else this.line.update({ time: seconds(candle.start), value: candle.close });
    this.volumes.update(this.#volume(candle));
    const candles = slots.filter(isCandle);
    const session = this.view.interval === "1d" ? candles : newestSession(candles);
    for (const name of this.view.overlays.filter(isOverlay)) {
      const last = OVERLAYS[name].values(session).at(-1);
      if (last?.value != null) this.overlays[name].update({ time: seconds(last.start), value: last.value });
    }
  }

  // Sessions other than the regular one are shaded, minutes that the feed did not cover hatched.
  /** @param {Slot[]} slots */
  drawBackdrop(slots) {
    const isHatched = (/** @type {Slot} */ slot) => (isCandle(slot) ? this.view.interval === "1m" && isCut(slot) : slot.uncovered);
    const isShaded = (/** @type {Slot} */ slot) => isCandle(slot) && slot.session != null && !REGULAR.includes(slot.session);
    const shaded = runs(slots, isShaded).map((run) => ({ ...run, kind: /** @type {const} */ ("shade") }));
    const hatched = runs(slots, isHatched).map((run) => ({ ...run, kind: /** @type {const} */ ("hatch") }));
    const revised = this.view.style === "candles" ? slots.filter(isCandle).filter(({ status }) => status === "revised") : [];
    this.element.dataset.gaps = String(slots.filter((slot) => !isCandle(slot)).length);
    this.element.dataset.hatched = String(slots.filter(isHatched).length);
    const { shade, hatch, accent } = this.colours;
    this.backdrop.set([...shaded, ...hatched], revised, { shade, hatch, dot: accent });
  }

  // The last price on the axis, in the colour of its candle. The series' own mark takes the colour of
  // the candle's body, which a forming one does not have.
  /** @param {ShownCandle | undefined} last */
  markLast(last) {
    const [price, isShown] = [last?.close ?? 0, last !== undefined];
    const color = last && last.close < last.open ? this.colours.down : this.colours.up;
    const line = this.view.style === "line" ? this.lastLines.line : this.lastLines.candles;
    const drawn = line.options();
    if (drawn.price === price && drawn.color === color && drawn.lineVisible === isShown) return;
    line.applyOptions({ price, color, lineVisible: isShown, axisLabelVisible: isShown });
  }

  /**
   * @param {ShownCandle} candle
   * @param {boolean} isFlashing
   */
  #bar({ start, open, high, low, close, status }, isFlashing) {
    const point = { time: seconds(start), open, high, low, close };
    const { accent } = this.colours;
    if (isFlashing) return { ...point, color: accent, borderColor: accent, wickColor: accent };
    if (status === "partial") return { ...point, color: "transparent" }; // forming: hollow
    return point;
  }

  /** @param {ShownCandle} candle */
  #volume({ start, open, close, volume }) {
    return { time: seconds(start), value: volume ?? 0, color: close >= open ? this.colours.upVolume : this.colours.downVolume };
  }

  /** @param {number} ms */
  #tick(ms) {
    if (this.view.interval === "1d") return format.sessionDay(ms);
    return format.isMidnight(ms, this.view.zone) ? format.day(ms, this.view.zone) : format.minute(ms, this.view.zone);
  }

  /** @param {number} ms */
  #time(ms) {
    if (this.view.interval === "1d") return format.sessionDay(ms);
    return `${format.dayAndMinute(ms, this.view.zone)} (${format.utc(ms).slice(11, 16)} UTC)`;
  }
}
