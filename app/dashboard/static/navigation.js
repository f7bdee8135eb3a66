// Moving the chart's view: keys, the button that returns to the newest candle, and times in the past.

import { movedByKey } from "./keys.js";

const FIRST_VIEW = 120; // slots
const RIGHT = 3; // empty slots right of the newest candle
const LOAD_AHEAD = 30; // slots left of the view when older candles are requested

export class Navigation {
  /**
   * @param {import("lightweight-charts").IChartApi} chart
   * @param {HTMLElement} element
   * @param {HTMLElement} latest the button, shown while the newest candle is out of view
   * @param {{count: () => number, loadOlder: () => void}} slots how many there are; asks for more of them
   */
  constructor(chart, element, latest, { count, loadOlder }) {
    this.chart = chart;
    this.scale = chart.timeScale();
    this.element = element;
    this.count = count;
    this.scale.subscribeVisibleLogicalRangeChange((range) => {
      latest.hidden = !range || range.to > count() - 2;
      if (range && count() && range.from <= LOAD_AHEAD) loadOlder();
    });
    latest.addEventListener("click", () => this.showLatest());
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  showFirst() {
    const count = this.count();
    this.scale.setVisibleLogicalRange({ from: count - Math.min(FIRST_VIEW, Math.max(40, count)), to: count + RIGHT });
  }

  // At once: an animation, as of scrollToRealTime, ends early when the chart is redrawn meanwhile.
  showLatest() {
    this.showUntil(this.count());
    this.element.dispatchEvent(new CustomEvent("latest"));
  }

  /** @param {number} slot the last one in view */
  showUntil(slot) {
    const range = this.scale.getVisibleLogicalRange();
    if (range) this.scale.setVisibleLogicalRange({ from: slot + RIGHT - (range.to - range.from), to: slot + RIGHT });
  }

  // Keeps in view what is, after `draw` has drawn other slots.
  /** @param {() => void} draw */
  keepTimes(draw) {
    const held = this.scale.getVisibleRange();
    draw();
    if (held) this.scale.setVisibleRange(held);
    else this.showFirst();
  }

  // As `keepTimes`, where `draw` adds slots on the left.
  /** @param {() => void} draw */
  keepSlots(draw) {
    const held = this.scale.getVisibleLogicalRange();
    const before = this.count();
    draw();
    const added = this.count() - before;
    if (held) this.scale.setVisibleLogicalRange({ from: held.from + added, to: held.to + added });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const range = this.scale.getVisibleLogicalRange();
    if (!range || event.ctrlKey || event.metaKey || event.altKey) return;
    const moved = movedByKey(range, event.key);
    if (event.key === "End") this.showLatest();
    else if (moved) this.scale.setVisibleLogicalRange(moved);
    else return;
    event.preventDefault();
  }
}
