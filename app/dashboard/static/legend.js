// The legend over the chart: one candle in words.

import { setText } from "./elements.js";
import * as format from "./format.js";

/** @type {Record<string, string>} */
const STATUS = { partial: "forming", final: "final", revised: "revised" };

/** @param {ShownCandle} candle */
export function statusOf(candle) {
  const revision = candle.status === "revised" ? ` (${candle.revision})` : "";
  const origin = candle.source === "gold" ? ", from the warehouse" : "";
  return (STATUS[candle.status ?? ""] ?? candle.status ?? "") + revision + origin;
}

/** @param {ShownCandle} candle */
const describe = (candle) => statusOf(candle) + (candle.session === "continuous" ? "" : ` · ${candle.session}`);

/**
 * What a revision changed: " · before: close 101.20, volume 1.2K, 5 trades".
 * @param {ShownCandle | undefined} before
 * @param {ShownCandle} candle
 * @param {(value: number | null) => string} price
 */
function changed(before, candle, price) {
  if (!before) return "";
  const prices = /** @type {const} */ (["open", "high", "low", "close"]);
  const words = prices.filter((key) => before[key] !== candle[key]).map((key) => `${key} ${price(before[key])}`);
  if (before.volume !== candle.volume) words.push(`volume ${format.compact(before.volume)}`);
  if (before.trade_count !== candle.trade_count) words.push(`${format.exact(before.trade_count)} trades`);
  return words.length ? ` · before: ${words.join(", ")}` : "";
}

/**
 * Writes the legend; where only figures have changed, into the nodes that are there.
 * @param {HTMLElement} legend
 * @param {ShownCandle} candle
 * @param {ShownCandle | undefined} before the version before a revision
 * @param {import("./plot.js").View} view
 * @param {number} digits
 */
export function drawLegend(legend, candle, before, { interval, zone }, digits) {
  const price = (/** @type {number | null} */ value) => format.price(value, digits);
  const words = [["O", price(candle.open)], ["H", price(candle.high)], ["L", price(candle.low)], ["C", price(candle.close)],
    ["Volume", format.compact(candle.volume)], ["VWAP", price(candle.vwap)], ["Trades", format.exact(candle.trade_count)]];
  if (candle.covered_ms != null && candle.status !== "partial" && interval === "1m") words.push(["Covered", `${Math.round(candle.covered_ms / 600)} %`]);
  const texts = [...words.flatMap(([name, text]) => [`  ${name} `, text]), `  ${describe(candle)}${changed(before, candle, price)}`];
  const shown = `${candle.start} ${interval} ${zone} ${words.length}`;
  if (legend.dataset.shown !== shown) {
    const moment = interval === "1d" ? format.sessionDay(candle.start) : format.time(candle.start, { zone });
    const nodes = texts.map((_, index) => (index % 2 ? document.createElement("b") : document.createTextNode("")));
    const bold = document.createElement("b");
    bold.append(moment);
    legend.replaceChildren(bold, ...nodes);
    legend.dataset.shown = shown;
  }
  texts.forEach((text, index) => setText(legend.childNodes[index + 1], text));
}
