// The badge in the header: whether the server sends, and whether what it sends is new.

import { byId } from "./elements.js";
import * as format from "./format.js";

const SILENCE_MS = 6000;
const STALE_MS = 180000; // while a market is open, some symbol trades each minute

/** @param {import("./store.js").State} state */
export function drawLink(state) {
  const [text, kind] = linkState(state);
  const badge = byId("link");
  if (badge.textContent === text) return;
  badge.textContent = text;
  badge.className = `badge ${kind}`;
}

/** @param {import("./store.js").State} state */
function linkState({ lastEvent, summaries, status, skew }) {
  if (!navigator.onLine) return ["offline: this device has no network", "bad"];
  if (!lastEvent) return ["reconnecting", "bad"];
  if (Date.now() - lastEvent > SILENCE_MS) return ["no data from the server", "bad"];
  const newest = Math.max(...[...summaries.values()].map((summary) => summary.as_of));
  const age = Date.now() + skew - newest;
  const stale = status?.feed !== "replay" && summaries.size > 0 && age > STALE_MS;
  return stale ? [`stale: newest price ${format.age(age)}`, "loud"] : ["connected", "good"];
}
