// The page: draws the chart from the first view, which the HTML has in it, and loads everything else
// when that frame is drawn.

import { CandleChart } from "./chart.js";
import { byId } from "./elements.js";
import { afterFrame } from "./pace.js";
import { Store, chartView, readAddress } from "./store.js";
import { applyTheme } from "./theme.js";

/** @type {FirstView} */
const first = JSON.parse(byId("first-view").textContent ?? "");
const asked = readAddress();
applyTheme(byId("theme", HTMLSelectElement), byId("palette", HTMLSelectElement));
const { summary } = first;
const store = new Store({
  ...asked, symbol: first.symbol, symbols: first.symbols, summaries: new Map(summary ? [[summary.symbol, summary]] : []), current: summary ?? undefined, gauges: {}, classGauges: {}, status: first.status, replay: first.status.replay, lastEvent: Date.now(), skew: first.status.now - Date.now(), notice: null,
});
const chart = new CandleChart(byId("chart"), byId("legend"), byId("latest"));
chart.setView(chartView(store.state));
if (summary) chart.setDigits(summary.digits);
if (first.interval === asked.interval) chart.show(first.candles, first);
await afterFrame();
const { follow } = await import("./live.js");
follow(store, chart, first, asked.symbol);
