// The feed's badge in the header, and the footer: freshness of Kafka, candles and gold.

import { byId } from "./elements.js";
import * as format from "./format.js";

/** @type {Record<Status["feed"], [string, string, string]>} */
const FEEDS = {
  live: ["LIVE", "good", ""],
  simulated: ["SIMULATED", "loud", "This market is simulated: no price on this page is real."],
  replay: ["REPLAY", "loud", "Recorded trades, not the current market."],
};

/**
 * @param {Status} status
 * @param {{now: number, zone: string | undefined}} options
 */
export function drawStatus(status, { now, zone }) {
  drawFeed(status.feed);
  write("kafka", [status.kafka.state], status.kafka.state === "away");
  const final = status.last_final_end;
  const moment = (/** @type {number | null} */ ms, options = {}) => format.time(ms, { now, zone, ...options });
  write("final", final ? [moment(final), status.feed === "replay" ? "" : ` (${format.age(now - final)})`] : ["none yet"], false);
  const gold = status.gold;
  write("gold", gold.built_at
    ? [moment(gold.built_at, { seconds: true }), ` (${format.age(now - gold.built_at)}), gold as of `, moment(gold.as_of)]
    : ["not built yet"], gold.state === "stuck");
  write("version", [status.version + (status.namespace ? `, namespace ${status.namespace}` : "")], false);
}

/** @param {Status["feed"]} name */
function drawFeed(name) {
  const [word, kind, explanation] = FEEDS[name];
  const feed = byId("feed");
  if (feed.textContent === word) return;
  feed.textContent = word;
  feed.className = `badge ${kind}`;
  feed.title = explanation;
  feed.hidden = false;
}

/**
 * @param {string} name
 * @param {(Node | string)[]} words
 * @param {boolean} bad
 */
function write(name, words, bad) {
  const element = byId(`status-${name}`);
  const line = document.createElement("dd");
  line.append(...words);
  if (element.innerHTML !== line.innerHTML) element.replaceChildren(...line.childNodes);
  element.classList.toggle("bad", bad);
}
