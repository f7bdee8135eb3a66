// The page: draws the chart from the first view, which the HTML has in it, and loads everything else
// when that frame is drawn.

import { CandleChart } from "./chart.js";
import { byId } from "./elements.js";
import { afterFrame } from "./pace.js";
import { Store, chartView, readAddress } from "./store.js";
import { applyTheme } from "./theme.js";

const RETRY_MS = 2000;

/** @type {FirstView} */
const first = JSON.parse(byId("first-view").textContent ?? "");
const asked = readAddress();
applyTheme(byId("theme", HTMLSelectElement), byId("palette", HTMLSelectElement));
const { summary } = first;
const store = new Store({
  ...asked,
  symbol: first.symbol,
  symbols: first.symbols,
  summaries: new Map(summary ? [[summary.symbol, summary]] : []),
  current: summary ?? undefined,
  gauges: {},
  classGauges: {},
  status: first.status,
  replay: first.status.replay,
  lastEvent: Date.now(),
  skew: first.status.now - Date.now(),
  notice: null,
});
const chart = new CandleChart(byId("chart"), byId("legend"), byId("latest"));
chart.setView(chartView(store.state));
if (summary) chart.setDigits(summary.digits);
if (first.interval === asked.interval) chart.show(first.candles, first);
await afterFrame();
const { follow } = await theRest();
follow(store, chart, first, asked.symbol);

// The scripts of everything else. The network may be away for a moment, also between two of them.
async function theRest() {
  const notices = byId("notices");
  for (;;) {
    try {
      const live = await import("./live.js");
      notices.replaceChildren();
      return live;
    } catch {
      notices.textContent = "The rest of this page cannot be loaded; it tries again. If this stays, reload it.";
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}
