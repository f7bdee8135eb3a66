// The page: connects the event stream, the store and the chart, and shows the panels around it when
// the first candle is drawn.

import { CandleTable } from "./candletable.js";
import { CandleChart } from "./chart.js";
import { choices, select } from "./controls.js";
import { byId, setAttribute } from "./elements.js";
import * as format from "./format.js";
import { getJson } from "./server.js";
import { ADDRESS_KEYS, Store, readAddress, shownZone, writeAddress } from "./store.js";
import { Stream } from "./stream.js";
import { applyTheme, onThemeChange } from "./theme.js";

const RETRY_MS = 2000;
const HISTORY = 500;
const HIDDEN_MS = 500; // no frame is drawn in a tab in the background

/** @type {FirstView} */
const first = JSON.parse(byId("first-view").textContent ?? "");
const asked = readAddress();
applyTheme(byId("theme", HTMLSelectElement), byId("palette", HTMLSelectElement));
/** @type {import("./store.js").State} */
const empty = {
  ...asked, symbol: null, symbols: [], summaries: new Map(), current: undefined, gauges: {}, classGauges: {}, status: null, replay: null, lastEvent: Date.now(), skew: 0, notice: null,
};
const store = new Store(empty);
const chart = new CandleChart(byId("chart"), byId("legend"), byId("latest"), async (before) => {
  const query = new URLSearchParams({ symbol: store.get("symbol") ?? "", interval: store.get("interval"), limit: String(HISTORY), before: String(before) });
  return (await getJson(`/api/candles?${query}`)).candles;
});
const symbolSelect = byId("symbol", HTMLSelectElement);
const table = new CandleTable(byId("table", HTMLDetailsElement), chart, () => shownZone(store.state));
const choose = (/** @type {string} */ symbol) => store.set({ symbol, current: store.get("summaries").get(symbol), notice: null });
const received = () => store.set({ lastEvent: Date.now() });
const showStatus = (/** @type {Status} */ status) => store.set({ status, replay: status.replay, skew: status.now - Date.now() });

let shown = ""; // symbol and interval on the chart
const stream = new Stream({
  snapshot: ({ symbol, interval, candles }) => {
    received();
    chart.show(candles, { keepView: shown === `${symbol} ${interval}` });
    shown = `${symbol} ${interval}`;
    table.draw();
  },
  candles: (update) => {
    received();
    chart.merge(update.candles);
    if (update.summary) store.set({ current: update.summary });
    table.draw();
  },
  summary: (summary) => {
    received();
    const summaries = new Map(summary.symbols.map((entry) => [entry.symbol, entry]));
    const symbols = [...new Set([...store.get("symbols"), ...summaries.keys()])].sort();
    store.set({ summaries, current: summaries.get(store.get("symbol") ?? ""), gauges: summary.gauges, classGauges: summary.class_gauges, ...(symbols.length > store.get("symbols").length ? { symbols } : {}) });
  },
  status: (status) => {
    received();
    showStatus(status);
  },
  error: () => store.set({ lastEvent: 0 }),
});

store.on(["symbols"], ({ symbols, symbol }) => {
  symbolSelect.replaceChildren(...symbols.map((name) => new Option(name, name, false, name === symbol)));
});
store.on(["symbol", "interval"], ({ symbol, interval }) => {
  if (!symbol) return;
  document.title = `${symbol} · Tickhouse`;
  symbolSelect.value = symbol;
  const isFirst = !shown && symbol === first.symbol && interval === first.interval && first.candles.length > 0;
  shown = isFirst ? `${symbol} ${interval}` : "nothing";
  chart.setView(chartView());
  chart.show(isFirst ? first.candles : []);
  stream.open(symbol, interval, isFirst ? first.event_id : "");
});
store.on(["style", "overlays", "zone"], () => {
  if (store.get("symbol")) chart.setView(chartView());
});
store.on(ADDRESS_KEYS, (state) => state.symbol && writeAddress(state));
// `current` is the chosen symbol's summary, which comes with each change of its candles; `summaries`
// are those of all symbols, each second.
store.on(["current"], ({ current: summary, symbol }) => {
  if (summary) chart.setDigits(summary.digits);
  if (symbol && chart.view.zone !== shownZone(store.state)) chart.setView(chartView()); // known with the first summary
});
store.onPaced(["current"], ({ current: summary }) => setAttribute(byId("chart"), "aria-label", summary
  ? `Candlestick chart of ${summary.symbol}, price ${format.price(summary.price, summary.digits)}`
  : "Candlestick chart, no candle yet"));

function chartView() {
  const { interval, style, overlays } = store.state;
  return { interval, style, overlays: overlays.split(",").filter(Boolean), zone: shownZone(store.state) };
}

/** @param {string | null} symbol the first one, if any */
function begin(symbol) {
  if (!symbol) return store.set({ notice: "No candle has been seen yet." });
  choose(symbol);
  if (asked.symbol && asked.symbol !== symbol) store.set({ notice: `No candle of “${asked.symbol}” has been seen; this is ${symbol}. Choose another from the list.` });
}

async function waitForSymbols() {
  while (store.get("symbols").length === 0) {
    await new Promise((done) => setTimeout(done, RETRY_MS));
    try {
      const [{ symbols }, status] = await Promise.all(["/api/symbols", "/api/status"].map(getJson));
      received();
      showStatus(status);
      store.set({ symbols });
    } catch {
      store.set({ lastEvent: 0 });
    }
  }
  const { symbols } = store.state;
  begin(symbols.find((symbol) => symbol === asked.symbol) ?? symbols[0]);
}

function afterFrame() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, HIDDEN_MS);
  });
}

choices(store, "interval");
choices(store, "style");
choices(store, "overlays", true);
select(store, "zone");
select(store, "size");
symbolSelect.addEventListener("change", () => choose(symbolSelect.value));
onThemeChange(() => chart.paint());
if (first.summary) store.set({ summaries: new Map([[first.summary.symbol, first.summary]]) });
store.set({ symbols: first.symbols });
showStatus(first.status);
begin(first.symbol);
await afterFrame();
const { showPanels } = await import("./panels.js");
showPanels(store, chart, choose);
if (!first.symbol) waitForSymbols();
