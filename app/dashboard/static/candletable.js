// The last candles as a table under the chart, while it is open.

import { inside, tableRow } from "./elements.js";
import * as format from "./format.js";
import { statusOf } from "./legend.js";

const ROWS = 20;

export class CandleTable {
  /**
   * @param {HTMLDetailsElement} details
   * @param {import("./chart.js").CandleChart} chart
   * @param {() => string | undefined} zone the time zone shown
   */
  constructor(details, chart, zone) {
    this.details = details;
    this.body = inside(details, "tbody");
    this.chart = chart;
    this.zone = zone;
    details.addEventListener("toggle", () => this.draw());
  }

  draw() {
    if (this.details.open) this.body.replaceChildren(...this.chart.newest(ROWS).reverse().map((candle) => this.#row(candle)));
  }

  /** @param {ShownCandle} candle */
  #row(candle) {
    const prices = [candle.open, candle.high, candle.low, candle.close].map((price) => format.price(price, this.chart.digits));
    const moment = this.chart.view.interval === "1d" ? format.sessionDay(candle.start) : format.time(candle.start, { zone: this.zone() });
    const cells = [moment, ...prices, format.compact(candle.volume), format.exact(candle.trade_count), statusOf(candle)];
    return tableRow(cells.map((content) => [content]));
  }
}
