// Everything around the chart. Drawn from the store, after the first candle.

import { byId } from "./elements.js";
import { drawGauges } from "./gauges.js";
import { drawLink } from "./link.js";
import { Notices } from "./notices.js";
import { PipelineStrip } from "./pipeline.js";
import { RejectionList } from "./rejections.js";
import { ReplayScrubber } from "./replay.js";
import { getJson, postJson } from "./server.js";
import { drawStatus } from "./status.js";
import { shownZone } from "./store.js";
import { drawTiles } from "./tiles.js";
import { TreeMap, drawLegend } from "./treemap.js";
import { WatchList } from "./watchlist.js";

const SPARKLINES_MS = 60000;
const LINK_MS = 1000;
const TREEMAP_MS = 5000; // areas and colours of a day's totals move slowly

/**
 * @param {import("./store.js").Store} store
 * @param {import("./chart.js").CandleChart} chart
 * @param {(symbol: string) => void} choose
 */
export function showPanels(store, chart, choose) {
  const zone = () => shownZone(store.state);
  const now = () => Date.now() + store.get("skew");
  const pipeline = new PipelineStrip(byId("pipeline", HTMLDetailsElement));
  const treemap = new TreeMap(byId("treemap"), choose);
  const watchlist = new WatchList(byId("watchlist"), { choose, sort: (/** @type {string} */ sort) => store.set({ sort }) });
  const notices = new Notices(byId("notices"));
  const scrubber = new ReplayScrubber(byId("replay"), {
    send: async (/** @type {Partial<ReplayCommand>} */ command) => store.set({ replay: (await postJson("/api/replay", command)).replay }),
    view: (/** @type {number} */ ms) => chart.showTime(ms),
    follow: () => chart.showLatest(),
    zone,
  });
  byId("chart").addEventListener("latest", () => scrubber.follow());
  new RejectionList(byId("rejections"), { load: async () => (await getJson("/api/rejections")).rejections, zone });
  drawLegend(byId("scale"));

  const tiles = () => drawTiles(store.get("current"), { now: now(), isReplay: store.get("status")?.feed === "replay", zone: zone() });
  store.on(["symbol", "zone"], tiles);
  store.onPaced(["current", "status"], tiles);
  store.on(["summaries", "symbol", "sort"], ({ summaries, symbol, sort }) => watchlist.draw([...summaries.values()], symbol, sort));
  const map = (/** @type {import("./store.js").State} */ { summaries, symbol, size }) => treemap.draw([...summaries.values()], symbol, size);
  store.on(["symbols", "symbol", "size"], map);
  store.onPaced(["summaries"], map, TREEMAP_MS);
  store.on(["gauges", "classGauges", "symbol"], drawGauges);
  store.on(["replay", "zone"], ({ replay }) => scrubber.draw(replay));
  store.on(["status", "notice"], ({ status, notice }) => notices.draw(notice, status));
  store.on(["status"], ({ status }) => {
    if (!status) return;
    pipeline.draw(status.health, now());
    drawStatus(status, { now: now(), zone: zone() });
  });
  const link = () => drawLink(store.state);
  store.on(["summaries", "status"], link);
  store.onPaced(["lastEvent"], link);
  setInterval(link, LINK_MS);
  for (const change of ["online", "offline"]) addEventListener(change, link);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || /** @type {Element} */ (event.target).closest("input, select, textarea") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    watchlist.focusSearch();
  });
  followSparklines(store, watchlist);
}

/**
 * @param {import("./store.js").Store} store
 * @param {WatchList} watchlist
 */
function followSparklines(store, watchlist) {
  const load = async () => {
    try {
      watchlist.drawSparklines((await getJson("/api/sparklines")).closes);
    } catch {
      // the server does not answer, which the badge shows; tried again in a minute
    }
  };
  store.on(["symbols"], load);
  setInterval(load, SPARKLINES_MS);
}
