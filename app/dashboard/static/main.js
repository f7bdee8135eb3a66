// The page: subscribes to the events of the chosen symbol and draws them.

import { CandleChart, statusOf } from "./chart.js";
import * as format from "./format.js";
import { drawGauge } from "./gauges.js";
import { drawTiles } from "./tiles.js";
import { TreeMap } from "./treemap.js";

const SILENCE_MS = 6000;
const RETRY_MS = 2000;
const STALE_MS = 180000; // while a market is open, some symbol trades each minute
const FEEDS = {
  live: ["LIVE", "good"],
  simulated: ["SIMULATED", "loud"],
  replay: ["REPLAY", "loud"],
};
const FEED_NOTICES = {
  simulated: "SIMULATED: this market is simulated; no price on this page is real.",
  replay: "REPLAY: recorded trades, not the current market.",
};

const $ = (id) => document.getElementById(id);
const chart = new CandleChart($("chart"), $("legend"));
const treemap = new TreeMap($("treemap"), choose);
const state = { symbol: null, symbols: [], summaries: new Map(), summary: null, status: null, lastEvent: 0, skew: 0, notice: null };
let source = null;

const now = () => Date.now() + state.skew;

function choose(symbol) {
  if (symbol === state.symbol) return;
  state.symbol = symbol;
  state.notice = null;
  $("symbol").value = symbol;
  document.title = `${symbol} · Tickhouse`;
  const address = new URL(location.href);
  address.searchParams.set("symbol", symbol);
  history.replaceState(null, "", address);
  chart.show([]);
  drawSummary();
  drawNotices();
  listen();
}

function listen() {
  source?.close();
  source = new EventSource(`/events?symbol=${encodeURIComponent(state.symbol)}`);
  const here = source;
  const on = (name, handle) =>
    here.addEventListener(name, (event) => {
      if (here !== source) return;
      state.lastEvent = Date.now();
      handle(JSON.parse(event.data));
      drawLink();
    });
  on("snapshot", (snapshot) => {
    chart.show(snapshot.candles);
    drawTable();
  });
  on("candles", (update) => {
    chart.merge(update.candles);
    if (update.summary) updateSymbol(update.summary);
    drawTable();
  });
  on("summary", updateSummary);
  on("status", updateStatus);
  here.addEventListener("error", () => {
    if (here !== source) return;
    state.lastEvent = 0;
    drawLink();
    if (here.readyState === EventSource.CLOSED) setTimeout(() => here === source && listen(), RETRY_MS);
  });
}

function updateSummary(summary) {
  state.summary = summary;
  state.summaries = new Map(summary.symbols.map((entry) => [entry.symbol, entry]));
  const unknown = summary.symbols.some(({ symbol }) => !state.symbols.includes(symbol));
  if (unknown) setSymbols([...new Set([...state.symbols, ...state.summaries.keys()])].sort());
  drawSummary();
}

function updateSymbol(summary) {
  state.summaries.set(summary.symbol, summary);
  chart.setDigits(summary.digits);
  drawTiles(summary, now(), state.status?.feed === "replay");
}

function updateStatus(status) {
  state.status = status;
  state.skew = status.now - Date.now();
  drawStatus();
  drawNotices();
  drawTiles(state.summaries.get(state.symbol), now(), status.feed === "replay");
}

function drawSummary() {
  const summary = state.summaries.get(state.symbol);
  if (summary) chart.setDigits(summary.digits);
  drawTiles(summary, now(), state.status?.feed === "replay");
  $("chart").setAttribute("aria-label", summary
    ? `Candlestick chart of ${summary.symbol}, price ${format.price(summary.price, summary.digits)}`
    : "Candlestick chart, no candle yet");
  if (!state.summary) return;
  treemap.draw(state.summary.symbols, state.symbol);
  const gauges = state.summary.gauges;
  for (const [suffix, key, name] of [["", state.symbol, state.symbol], ["-all", "*", "All symbols"]]) {
    drawGauge($(`gauge-volume${suffix}`), `${name}: volume`, gauges[key]?.volume);
    drawGauge($(`gauge-sales${suffix}`), `${name}: sales`, gauges[key]?.sales);
  }
  $("gauges-hint").textContent = summary?.typical_days
    ? `Today so far; the mark is the median of ${summary.typical_days} earlier days by this minute.`
    : "Today so far. Without history, full scale is the largest value of any symbol.";
}

function linkState() {
  if (!state.lastEvent) return ["reconnecting", "bad"];
  if (Date.now() - state.lastEvent > SILENCE_MS) return ["no data from the server", "bad"];
  const newest = Math.max(...[...state.summaries.values()].map((summary) => summary.as_of));
  const stale = state.status?.feed !== "replay" && state.summaries.size > 0 && now() - newest > STALE_MS;
  return stale ? [`stale: newest price ${format.age(now() - newest)}`, "loud"] : ["connected", "good"];
}

function drawLink() {
  const [text, kind] = linkState();
  const badge = $("link");
  if (badge.textContent === text) return;
  badge.textContent = text;
  badge.className = `badge ${kind}`;
}

function drawStatus() {
  const status = state.status;
  const [word, kind] = FEEDS[status.feed] ?? [status.feed, "loud"];
  $("feed").textContent = word;
  $("feed").className = `badge ${kind}`;
  $("feed").hidden = false;
  setStatus("status-kafka", [status.kafka.state], status.kafka.state === "away");
  const final = status.last_final_end;
  setStatus("status-final", final ? [format.time(final, { now: now() }), status.feed === "replay" ? "" : ` (${format.age(now() - final)})`] : ["none yet"], false);
  const gold = status.gold;
  setStatus("status-gold", gold.built_at
    ? [format.time(gold.built_at, { seconds: true, now: now() }), ` (${format.age(now() - gold.built_at)}), gold as of `, format.time(gold.as_of, { now: now() })]
    : ["not built yet"], gold.state === "stuck");
  setStatus("status-version", [status.version + (status.namespace ? `, namespace ${status.namespace}` : "")], false);
}

function setStatus(id, words, bad) {
  $(id).replaceChildren(...words);
  $(id).classList.toggle("bad", Boolean(bad));
}

function drawNotices() {
  const status = state.status;
  const words = [state.notice, status && FEED_NOTICES[status.feed], ...(status?.problems ?? [])];
  if (status?.gold.state === "absent") words.push(`${status.gold.detail} Meanwhile all values are computed from live candles.`);
  const shown = words.filter(Boolean);
  const box = $("notices");
  if ([...box.children].map((line) => line.textContent).join("\n") === shown.join("\n")) return;
  box.replaceChildren(...shown.map((sentence) => {
    const line = document.createElement("p");
    line.textContent = sentence;
    return line;
  }));
}

function drawTable() {
  if (!$("table").open) return;
  const rows = chart.newest(20).reverse().map((candle) => {
    const row = document.createElement("tr");
    const prices = ["open", "high", "low", "close"].map((key) => format.price(candle[key], chart.digits));
    const cells = [format.time(candle.start), ...prices, format.compact(candle.volume), format.exact(candle.trade_count), statusOf(candle)];
    row.append(...cells.map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    return row;
  });
  document.querySelector("#table tbody").replaceChildren(...rows);
}

function setSymbols(symbols) {
  state.symbols = symbols;
  $("symbol").replaceChildren(...symbols.map((symbol) => new Option(symbol, symbol, false, symbol === state.symbol)));
}

async function start() {
  const asked = new URL(location.href).searchParams.get("symbol");
  let symbols = [];
  while (symbols.length === 0) {
    try {
      const [found, status] = await Promise.all(["/api/symbols", "/api/status"].map(async (path) => (await fetch(path)).json()));
      symbols = found.symbols;
      updateStatus(status);
    } catch {
      drawLink(); // the server does not answer; the badge shows it
    }
    if (symbols.length === 0) {
      state.notice = "No candle has been seen yet.";
      drawNotices();
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
  state.notice = null;
  setSymbols(symbols);
  const known = symbols.includes(asked);
  choose(known ? asked : symbols[0]);
  if (asked && !known) {
    state.notice = `No candle of “${asked}” has been seen; this is ${symbols[0]}. Choose another from the list.`;
    drawNotices();
  }
}

$("symbol").addEventListener("change", (event) => choose(event.target.value));
$("table").addEventListener("toggle", drawTable);
setInterval(drawLink, 1000);
start();
