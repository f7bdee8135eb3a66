// The page after its first frame: connects the event stream, the store and the chart, and shows the
// panels around it.

import { CandleTable } from "./candletable.js";
import { choices, select } from "./controls.js";
import { byId, setAttribute } from "./elements.js";
import * as format from "./format.js";
import { showPanels } from "./panels.js";
import { getJson } from "./server.js";
import { ADDRESS_KEYS, chartView, newerSummary, shownZone, writeAddress } from "./store.js";
import { Stream } from "./stream.js";
import { onThemeChange } from "./theme.js";

const RETRY_MS = 2000;
const HISTORY = 500;

/**
 * @param {import("./store.js").Store} store
 * @param {import("./chart.js").CandleChart} chart
 * @param {FirstView} first what they show
 * @param {string | null} asked the symbol in the address
 */
export function follow(store, chart, first, asked) {
  const symbolSelect = byId("symbol", HTMLSelectElement);
  const table = new CandleTable(byId("table", HTMLDetailsElement), chart, () => shownZone(store.state));
  const redraw = () => {
    chart.setView(chartView(store.state));
    table.draw();
  };
  const choose = (/** @type {string} */ symbol) => store.set({ symbol, current: store.get("summaries").get(symbol), notice: null });
  const received = () => store.set({ lastEvent: Date.now() });
  const showStatus = (/** @type {Status} */ status) => store.set({ status, replay: status.replay, skew: status.now - Date.now() });
  chart.loadOlder = async (before) => {
    const query = new URLSearchParams({ symbol: store.get("symbol") ?? "", interval: store.get("interval"), limit: String(HISTORY), before: String(before) });
    return (await getJson(`/api/candles?${query}`)).candles;
  };

  let shown = first.candles.length ? `${first.symbol} ${first.interval}` : ""; // symbol and interval on the chart
  let lastEventId = first.candles.length ? first.event_id : "";
  const stream = new Stream({
    snapshot: ({ symbol, interval, candles, has_older }) => {
      received();
      chart.show(candles, { has_older, keepView: shown === `${symbol} ${interval}` });
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
      const known = store.get("symbols");
      const symbols = [...new Set([...known, ...summaries.keys()])].sort();
      store.set({
        summaries,
        current: newerSummary(store.get("current"), summaries.get(store.get("symbol") ?? "")),
        gauges: summary.gauges,
        classGauges: summary.class_gauges,
        symbols: symbols.length > known.length ? symbols : known,
      });
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
    if (shown !== `${symbol} ${interval}`) {
      [shown, lastEventId] = ["", ""];
      chart.begin(chartView(store.state));
      table.draw();
    }
    stream.open(symbol, interval, lastEventId);
  });
  store.on(["style", "overlays", "zone"], () => {
    if (store.get("symbol")) redraw();
  });
  store.on(ADDRESS_KEYS, (state) => state.symbol && writeAddress(state));
  // `current` is the chosen symbol's summary, which comes with each change of its candles; `summaries`
  // are those of all symbols, each second.
  store.on(["current"], ({ current: summary, symbol }) => {
    if (summary) chart.setDigits(summary.digits);
    if (symbol && chart.view.zone !== shownZone(store.state)) redraw(); // known with the first summary
  });
  store.onPaced(["current"], ({ current: summary }) => setAttribute(byId("chart"), "aria-label", summary
    ? `Candlestick chart of ${summary.symbol}, price ${format.price(summary.price, summary.digits)}`
    : "Candlestick chart, no candle yet"));

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
    choose(symbols.find((symbol) => symbol === asked) ?? symbols[0]);
    nameMissing();
  }

  function nameMissing() {
    const symbol = store.get("symbol");
    if (asked && asked !== symbol) store.set({ notice: `No candle of “${asked}” has been seen; this is ${symbol}. Choose another from the list.` });
  }

  choices(store, "interval");
  choices(store, "style");
  choices(store, "overlays", true);
  select(store, "zone");
  select(store, "size");
  symbolSelect.addEventListener("change", () => choose(symbolSelect.value));
  onThemeChange(() => chart.paint());
  showPanels(store, chart, choose);
  if (first.symbol) return nameMissing();
  store.set({ notice: "No candle has been seen yet." });
  waitForSymbols();
}
