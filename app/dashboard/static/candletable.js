// The last candles as a table under the chart, while it is open.

import * as format from "./format.js";
import { statusOf } from "./legend.js";

const ROWS = 20;

export class CandleTable {
  // `chart` holds the candles; `zone()` is the time zone shown.
  constructor(details, chart, zone) {
    this.details = details;
    this.body = details.querySelector("tbody");
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
    const cells = [format.time(candle.start, { zone: this.zone() }), ...prices, format.compact(candle.volume), format.exact(candle.trade_count), statusOf(candle)];
    const row = document.createElement("tr");
    row.append(...cells.map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    return row;
  }
}
