// The page: connects the event stream, the store and the panels.

import { CandleChart } from "./chart.js";
import * as format from "./format.js";
import { drawGauge } from "./gauges.js";
import { statusOf } from "./legend.js";
import { Notices } from "./notices.js";
import { PipelineStrip } from "./pipeline.js";
import { RejectionList } from "./rejections.js";
import { ReplayScrubber } from "./replay.js";
import { ADDRESS_KEYS, Store, readAddress, writeAddress } from "./store.js";
import { Stream } from "./stream.js";
import { applyTheme, onThemeChange } from "./theme.js";
import { drawTiles } from "./tiles.js";
import { TreeMap, drawLegend } from "./treemap.js";
import { WatchList } from "./watchlist.js";

const SILENCE_MS = 6000;
const RETRY_MS = 2000;
const SPARKLINES_MS = 60000;
const STALE_MS = 180000; // while a market is open, some symbol trades each minute
const HISTORY = 500;
const FEEDS = {
  live: ["LIVE", "good"],
  simulated: ["SIMULATED", "loud", "This market is simulated: no price on this page is real."],
  replay: ["REPLAY", "loud", "Recorded trades, not the current market."],
};

/** @type {Record<SymbolClass, string>} */
const CLASSES = { us_stock: "All stocks", crypto: "All crypto", forex: "All forex", future: "All futures", other: "All other symbols" };

/** @returns {any} an element of index.html, of whatever kind */
const $ = (id) => document.getElementById(id);
const asked = readAddress();
const store = new Store({ ...asked, symbol: null, symbols: [], summaries: new Map(), current: undefined, gauges: {}, classGauges: {}, status: null, replay: null, lastEvent: 0, skew: 0, notice: null });
const now = () => Date.now() + store.get("skew");
const getJson = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
};
const postJson = async (path, value) => {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
  const read = await answer.json();
  if (!answer.ok) throw new Error(read.error);
  return read;
};
const zone = () => ({ exchange: exchangeZone(), utc: "UTC" })[store.get("zone")];

// Stocks trade in New York; what trades around the clock has UTC days.
function exchangeZone() {
  return store.get("summaries").get(store.get("symbol"))?.session === "continuous" ? "UTC" : "America/New_York";
}

const choose = (symbol) => store.set({ symbol, current: store.get("summaries").get(symbol), notice: null });
const chart = new CandleChart($("chart"), $("legend"), $("latest"), async (before) => {
  const query = new URLSearchParams({ symbol: store.get("symbol"), interval: store.get("interval"), limit: String(HISTORY), before });
  return (await getJson(`/api/candles?${query}`)).candles;
});
const pipeline = new PipelineStrip($("pipeline"));
const treemap = new TreeMap($("treemap"), choose);
const watchlist = new WatchList($("watchlist"), { choose, sort: (sort) => store.set({ sort }) });

let shown = null; // symbol and interval on the chart
const stream = new Stream({
  snapshot: ({ symbol, interval, candles }) => {
    received();
    chart.show(candles, { keepView: shown === `${symbol} ${interval}` });
    shown = `${symbol} ${interval}`;
    drawTable();
  },
  candles: (update) => {
    received();
    chart.merge(update.candles);
    if (update.summary) store.set({ current: update.summary });
    drawTable();
  },
  summary: (summary) => {
    received();
    const summaries = new Map(summary.symbols.map((entry) => [entry.symbol, entry]));
    const symbols = [...new Set([...store.get("symbols"), ...summaries.keys()])].sort();
    store.set({ summaries, current: summaries.get(store.get("symbol")), gauges: summary.gauges, classGauges: summary.class_gauges, ...(symbols.length > store.get("symbols").length ? { symbols } : {}) });
  },
  status: (status) => {
    received();
    showStatus(status);
  },
  error: () => store.set({ lastEvent: 0 }),
});
const showStatus = (status) => store.set({ status, replay: status.replay, skew: status.now - Date.now() });
const received = () => store.set({ lastEvent: Date.now() });

store.on(["symbol", "interval"], ({ symbol, interval }) => {
  if (!symbol) return;
  document.title = `${symbol} · Tickhouse`;
  $("symbol").value = symbol;
  chart.setView(chartView());
  chart.show([]);
  stream.open(symbol, interval);
});
store.on(["style", "overlays", "zone"], () => {
  if (store.get("symbol")) chart.setView(chartView());
});
store.on(ADDRESS_KEYS, (state) => state.symbol && writeAddress(state));
store.on(["symbols"], ({ symbols, symbol }) => {
  $("symbol").replaceChildren(...symbols.map((name) => new Option(name, name, false, name === symbol)));
});
// `current` is the chosen symbol's summary, which comes with each change of its candles; `summaries`
// are those of all symbols, each second.
store.on(["current", "status", "zone"], ({ current: summary, status }) => {
  if (summary) chart.setDigits(summary.digits);
  if (store.get("symbol") && chart.view.zone !== zone()) chart.setView(chartView()); // known with the first summary
  drawTiles(summary, { now: now(), isReplay: status?.feed === "replay", zone: zone() });
  $("chart").setAttribute("aria-label", summary
    ? `Candlestick chart of ${summary.symbol}, price ${format.price(summary.price, summary.digits)}`
    : "Candlestick chart, no candle yet");
});
store.on(["summaries", "symbol", "sort"], ({ summaries, symbol, sort }) => watchlist.draw([...summaries.values()], symbol, sort));
store.on(["summaries", "symbol", "size"], ({ summaries, symbol, size }) => treemap.draw([...summaries.values()], symbol, size));
store.on(["gauges", "classGauges", "symbol"], drawGauges);
const scrubber = new ReplayScrubber($("replay"), {
  send: async (command) => store.set({ replay: (await postJson("/api/replay", command)).replay }),
  view: (ms) => chart.showTime(ms),
  follow: () => chart.showLatest(),
  zone,
});
store.on(["replay", "zone"], ({ replay }) => scrubber.draw(replay));
$("chart").addEventListener("latest", () => scrubber.follow());
const notices = new Notices($("notices"));
store.on(["status", "notice"], ({ status, notice }) => notices.draw(notice, status));
store.on(["status"], ({ status }) => {
  if (!status) return;
  pipeline.draw(status.health, now());
  drawStatus(status);
});
store.on(["lastEvent", "summaries", "status"], drawLink);

function chartView() {
  const { interval, style, overlays } = Object.fromEntries(["interval", "style", "overlays"].map((key) => [key, store.get(key)]));
  return { interval, style, overlays: overlays.split(",").filter(Boolean), zone: zone() };
}

function drawGauges({ gauges, classGauges, symbol, summaries }) {
  const symbolClass = summaries.get(symbol)?.symbol_class;
  for (const [suffix, name, both] of [["", symbol, gauges[symbol]], ["-class", CLASSES[symbolClass], classGauges[symbolClass]]]) {
    drawGauge($(`gauge-volume${suffix}`), `${name ?? "No symbol"}: volume`, both?.volume);
    drawGauge($(`gauge-sales${suffix}`), `${name ?? "No symbol"}: sales`, both?.sales);
  }
  const days = summaries.get(symbol)?.typical_days;
  $("gauges-hint").textContent = days
    ? `Today so far. Mark: median of ${days} earlier ${days === 1 ? "day" : "days"} by now.`
    : "Today so far, no history yet.";
}

function linkState() {
  const [lastEvent, summaries, status] = [store.get("lastEvent"), store.get("summaries"), store.get("status")];
  if (!navigator.onLine) return ["offline: this device has no network", "bad"];
  if (!lastEvent) return ["reconnecting", "bad"];
  if (Date.now() - lastEvent > SILENCE_MS) return ["no data from the server", "bad"];
  const newest = Math.max(...[...summaries.values()].map((summary) => summary.as_of));
  const stale = status?.feed !== "replay" && summaries.size > 0 && now() - newest > STALE_MS;
  return stale ? [`stale: newest price ${format.age(now() - newest)}`, "loud"] : ["connected", "good"];
}

function drawLink() {
  const [text, kind] = linkState();
  const badge = $("link");
  if (badge.textContent === text) return;
  badge.textContent = text;
  badge.className = `badge ${kind}`;
}

function drawStatus(status) {
  const [word, kind, explanation] = FEEDS[status.feed] ?? [status.feed, "loud"];
  const feed = $("feed");
  feed.textContent = word;
  feed.className = `badge ${kind}`;
  feed.title = explanation ?? "";
  feed.hidden = false;
  setStatus("status-kafka", [status.kafka.state], status.kafka.state === "away");
  const final = status.last_final_end;
  const moment = (ms, options = {}) => format.time(ms, { now: now(), zone: zone(), ...options });
  setStatus("status-final", final ? [moment(final), status.feed === "replay" ? "" : ` (${format.age(now() - final)})`] : ["none yet"], false);
  const gold = status.gold;
  setStatus("status-gold", gold.built_at
    ? [moment(gold.built_at, { seconds: true }), ` (${format.age(now() - gold.built_at)}), gold as of `, moment(gold.as_of)]
    : ["not built yet"], gold.state === "stuck");
  setStatus("status-version", [status.version + (status.namespace ? `, namespace ${status.namespace}` : "")], false);
}

function setStatus(id, words, bad) {
  $(id).replaceChildren(...words);
  $(id).classList.toggle("bad", Boolean(bad));
}

function drawTable() {
  if (!$("table").open) return;
  const rows = chart.newest(20).reverse().map((candle) => {
    const row = document.createElement("tr");
    const prices = ["open", "high", "low", "close"].map((key) => format.price(candle[key], chart.digits));
    const cells = [format.time(candle.start, { zone: zone() }), ...prices, format.compact(candle.volume), format.exact(candle.trade_count), statusOf(candle)];
    row.append(...cells.map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    return row;
  });
  document.querySelector("#table tbody").replaceChildren(...rows);
}

// A group of buttons of which one, or with `several` any number, is pressed.
function choices(id, key, several = false) {
  const buttons = [...$(id).querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const held = new Set(several ? store.get(key).split(",").filter(Boolean) : []);
      if (!held.delete(button.value)) held.add(button.value);
      store.set({ [key]: [...held].join(",") });
    });
  }
  store.on([key], (state) => {
    const pressed = state[key].split(",");
    for (const button of buttons) button.setAttribute("aria-pressed", pressed.includes(button.value));
  });
}

function select(id, key) {
  $(id).addEventListener("change", (event) => store.set({ [key]: event.target.value }));
  store.on([key], (state) => { $(id).value = state[key]; });
}

async function drawSparklines() {
  try {
    watchlist.drawSparklines((await getJson("/api/sparklines")).closes);
  } catch {
    // the server does not answer, which the badge shows; tried again in a minute
  }
}

async function start() {
  let symbols = [];
  while (symbols.length === 0) {
    try {
      const [found, status] = await Promise.all(["/api/symbols", "/api/status"].map(getJson));
      symbols = found.symbols;
      received();
      showStatus(status);
    } catch {
      drawLink(); // the server does not answer; the badge shows it
    }
    if (symbols.length === 0) {
      store.set({ notice: "No candle has been seen yet." });
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
  store.set({ notice: null, symbols });
  const known = symbols.includes(asked.symbol);
  choose(known ? asked.symbol : symbols[0]);
  if (asked.symbol && !known) store.set({ notice: `No candle of “${asked.symbol}” has been seen; this is ${symbols[0]}. Choose another from the list.` });
  drawSparklines();
  setInterval(drawSparklines, SPARKLINES_MS);
}

choices("interval", "interval");
choices("style", "style");
choices("overlays", "overlays", true);
select("zone", "zone");
select("size", "size");
$("symbol").addEventListener("change", (event) => choose(event.target.value));
$("table").addEventListener("toggle", drawTable);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /** @type {Element} */ (event.target).closest("input, select, textarea") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  watchlist.focusSearch();
});
new RejectionList($("rejections"), { load: async () => (await getJson("/api/rejections")).rejections, zone });
drawLegend($("scale"));
applyTheme($("theme"), $("palette"));
onThemeChange(() => chart.paint());
setInterval(drawLink, 1000);
for (const change of ["online", "offline"]) addEventListener(change, drawLink);
start();
