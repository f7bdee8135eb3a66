// Candlestick chart of one symbol and interval: its candles, and what of the plot they change.

import { drawLegend } from "./legend.js";
import { Navigation } from "./navigation.js";
import { PACE_MS, afterFrame, paced } from "./pace.js";
import { Plot } from "./plot.js";
import { isCandle, isCut, withGaps } from "./sessions.js";

const MAX_CANDLES = 6000; // a page that stays open for days drops its oldest candles
const KEPT_CANDLES = 5000;
const FLASH_MS = 1500;
const ASK_AGAIN_MS = 60000; // where there were no older candles: the warehouse may have them by now

/** @param {ShownCandle[]} candles */
const byStart = (candles) => new Map(candles.map((candle) => [candle.start, candle]));

export class CandleChart {
  /** @type {Map<number, ShownCandle>} */
  #candles = new Map();
  /** @type {Map<number, ShownCandle>} of candles that were revised while the page was open: the version before */
  #earlier = new Map();
  /** @type {import("./sessions.js").Slot[]} */
  #slots = [];
  #hasOlder = false;
  #askedAt = 0; // when it was last known whether there are older candles
  /** @type {Promise<boolean> | null} of older candles that are awaited */
  #loading = null;
  #begun = 0; // how many views
  /** @type {number | null} the time in the past that `showTime` was last asked for */
  #target = null;
  /** @type {number | null} the start of the candle under the crosshair */
  #pointed = null;
  /** @type {Set<number>} */
  #flashing = new Set();
  /** @type {number | undefined} */
  #flashEnd;
  #legendOfNewest = paced(() => this.#drawLegend(), PACE_MS);
  /** @type {((before: number) => Promise<ShownCandle[]>) | null} the candles that start before, oldest first */
  loadOlder = null;

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} legend
   * @param {HTMLElement} latest the button that returns to the newest candle
   */
  constructor(element, legend, latest) {
    this.element = element;
    this.legend = legend;
    this.digits = 2;
    this.plot = new Plot(element, { interval: "1m", style: "candles", overlays: [], zone: undefined });
    this.navigation = new Navigation(this.plot.chart, element, latest, { count: () => this.#slots.length, loadOlder: () => this.#load() });
    element.addEventListener("latest", () => { this.#target = null; });
    this.plot.chart.subscribeCrosshairMove(({ time }) => { // also after each frame
      const pointed = time ? Number(time) * 1000 : null;
      if (pointed === this.#pointed) return;
      this.#pointed = pointed;
      this.#drawLegend();
    });
  }

  // Takes the colours of the page's theme.
  paint() {
    this.plot.paint();
    this.#redraw();
  }

  // The plot's; they are the same.
  get view() {
    return this.plot.view;
  }

  // Changes how the candles that are shown are drawn; those of another interval take `begin`.
  /** @param {import("./plot.js").View} view */
  setView(view) {
    this.plot.setView(view);
    if (this.#candles.size) this.#redraw();
  }

  // Begins the view of another symbol or interval, without candles until `show`.
  /** @param {import("./plot.js").View} view */
  begin(view) {
    this.#begun += 1;
    this.#target = null;
    this.#candles.clear(); // at first: days drawn as minutes would be hundreds of thousands of slots
    this.setView(view);
    this.show([], { has_older: false });
  }

  /** @param {number} digits */
  setDigits(digits) {
    if (digits === this.digits) return;
    this.digits = digits;
    this.plot.setDigits(digits);
    this.#drawLegend();
  }

  /**
   * Replaces all candles.
   * @param {ShownCandle[]} candles
   * @param {{has_older: boolean, keepView?: boolean}} options whether there are older ones; `keepView`: the chart already shows the symbol and interval
   */
  show(candles, { has_older, keepView = false }) {
    if (keepView && candles.length === 0) return; // a server that has just started has not read any yet
    const newest = this.last();
    const meets = keepView && newest !== undefined && candles[0].start <= newest.end;
    // without those that end before the first of `candles` begins: no event would fill the hole
    const older = meets ? [...this.#candles.values()].filter(({ start }) => start < candles[0].start) : [];
    if (older.length === 0) [this.#hasOlder, this.#askedAt] = [has_older, Date.now()];
    if (!meets) this.#earlier.clear();
    this.#candles = byStart([...older, ...candles]);
    if (meets) return this.navigation.keepTimes(() => this.#redraw());
    this.#redraw();
    this.navigation.showFirst();
  }

  /** @param {ShownCandle[]} candles */
  merge(candles) {
    const newest = this.last();
    const revised = candles.filter((candle) => this.#isRevision(candle));
    for (const { start } of revised) this.#earlier.set(start, /** @type {ShownCandle} */ (this.#candles.get(start)));
    const isNewest = newest && candles.every(({ start }) => start === newest.start || start === newest.end);
    for (const candle of candles) this.#candles.set(candle.start, candle);
    if (!isNewest || revised.length || this.#candles.size > MAX_CANDLES) {
      const sorted = [...this.#candles].sort(([a], [b]) => a - b);
      const isTrimmed = sorted.length > MAX_CANDLES;
      this.#hasOlder ||= isTrimmed;
      this.#candles = new Map(isTrimmed ? sorted.slice(-KEPT_CANDLES) : sorted);
      this.#redraw();
    } else for (const candle of candles) this.#update(candle);
    if (revised.length) this.#flash(revised);
    this.#announce();
    this.#legendOfNewest();
  }

  /** @param {ShownCandle} candle */
  #isRevision({ start, revision }) {
    const held = this.#candles.get(start)?.revision;
    return held != null && revision != null && revision > held;
  }

  last() {
    return this.newest(1).at(0);
  }

  /** @param {number} count */
  newest(count) {
    return [...this.#candles.values()].slice(-count);
  }

  // Moves the view to a time in the past, for which older candles are loaded. Of several calls, as
  // while a range is dragged, the last one counts.
  /** @param {number} ms */
  async showTime(ms) {
    this.#target = ms;
    while (this.#target === ms && (this.#first()?.start ?? ms) > ms && await this.#load());
    if (this.#target !== ms) return;
    const found = this.#slots.findIndex((slot) => slot.start > ms);
    this.navigation.showUntil(found < 0 ? this.#slots.length : found);
  }

  showLatest() {
    this.navigation.showLatest();
  }

  /** @returns {ShownCandle | undefined} */
  #first() {
    return this.#candles.values().next().value;
  }

  /** @param {ShownCandle} candle */
  #update(candle) {
    const before = this.#slots.at(-1);
    const replaced = before && isCandle(before) && before.start === candle.start ? before : null;
    if (replaced) this.#slots.pop();
    this.#slots.push(candle);
    this.plot.update(this.#slots, candle);
    if (!replaced || isCut(replaced) !== isCut(candle)) this.plot.drawBackdrop(this.#slots);
  }

  #redraw() {
    this.#slots = withGaps([...this.#candles.values()], this.view.interval);
    this.plot.draw(this.#slots, this.#flashing);
    this.#announce();
    afterFrame().then(() => this.#drawLegend()); // formatters of numbers take as long to make as the plot
  }

  // A revised candle is drawn in the accent colour for a moment.
  /** @param {ShownCandle[]} candles */
  #flash(candles) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.#flashing = new Set(candles.map(({ start }) => start));
    this.#redraw();
    clearTimeout(this.#flashEnd);
    this.#flashEnd = setTimeout(() => {
      this.#flashing.clear();
      this.#redraw();
    }, FLASH_MS);
  }

  // Adds older candles on the left; false: none. All who ask while they are awaited share the answer.
  #load() {
    this.#loading ??= this.#loadOlder().finally(() => { this.#loading = null; });
    return this.#loading;
  }

  async #loadOlder() {
    const first = this.#first();
    const isDue = this.#hasOlder || Date.now() - this.#askedAt >= ASK_AGAIN_MS;
    if (!isDue || !first || !this.loadOlder) return false;
    const begun = this.#begun;
    this.#askedAt = Date.now();
    try {
      const older = await this.loadOlder(first.start);
      if (begun !== this.#begun || first.start !== this.#first()?.start) return false;
      this.#hasOlder = older.length > 0;
      if (older.length === 0) return false;
      this.#candles = new Map([...byStart(older), ...this.#candles]);
      this.navigation.keepSlots(() => this.#redraw());
      return true;
    } catch {
      return false; // the server does not answer; the next move tries again
    }
  }

  // The newest candle, on the axis and in attributes.
  #announce() {
    const last = this.last();
    this.plot.markLast(last);
    const { dataset } = this.element;
    dataset.candles = String(this.#candles.size);
    if (last) Object.assign(dataset, { lastStart: last.start, lastClose: last.close, lastStatus: last.status });
  }

  // That of the candle under the crosshair, or of the newest.
  #drawLegend() {
    const shown = (this.#pointed === null ? undefined : this.#candles.get(this.#pointed)) ?? this.last();
    if (shown) return drawLegend(this.legend, shown, this.#earlier.get(shown.start), this.view, this.digits);
    this.legend.replaceChildren();
    delete this.legend.dataset.shown;
  }
}
