// Key figures of the chosen symbol, each with its source.

import { byId, inside, setAttribute, setText } from "./elements.js";
import * as format from "./format.js";

/** @type {Record<string, string>} */
const FROM = { live: "live candles", gold: "warehouse" };
const IDS = /** @type {const} */ (["tile-price", "tile-range", "tile-volume", "tile-vwap", "tile-traded", "tile-trades", "tile-minute", "tile-asof"]);

/**
 * @param {typeof IDS[number]} id
 * @param {string | HTMLTimeElement} value
 * @param {string} note
 */
function fill(id, value, note, title = "") {
  const tile = byId(id);
  const [shown, small] = [inside(tile, ".value"), inside(tile, ".note")];
  if (typeof value === "string") setText(shown, value);
  else if (shown.innerHTML !== value.outerHTML) shown.replaceChildren(value);
  setAttribute(shown, "title", title || null);
  setText(small, note);
  setAttribute(small, "title", note || null); // a long one is cut
}

/**
 * @param {SymbolSummary | undefined} summary
 * @param {{now: number, isReplay: boolean, zone: string | undefined}} options
 */
export function drawTiles(summary, { now, isReplay, zone }) {
  if (!summary) {
    for (const id of IDS) fill(id, "–", id === "tile-price" ? "no candle yet" : "");
    return setText(inside(byId("tile-price"), ".change"), "");
  }
  const { totals, digits } = summary;
  const write = (/** @type {number | null} */ value) => format.price(value, digits);
  const from = FROM[totals.source] + (totals.since == null ? "" : ` since ${format.minute(totals.since, zone)}`);
  const basis = summary.change_basis ? `vs ${summary.change_basis}` : FROM[summary.price_source];
  fill("tile-price", write(summary.price), `${basis} · ${summary.session ?? ""} ${summary.session_date}`);
  drawChange(inside(byId("tile-price"), ".change"), summary, write);
  const range = `${write(totals.low)}\u00a0– ${write(totals.high)}`;
  fill("tile-range", range, from);
  inside(byId("tile-range"), ".value").style.setProperty("--characters", String(range.length));
  drawRange(inside(byId("tile-range"), ".bar span"), summary);
  fill("tile-volume", format.compact(totals.volume), against(totals.volume, summary.typical_volume), format.exact(totals.volume));
  fill("tile-vwap", write(totals.vwap), totals.vwap ? `price ${format.percent((summary.price / totals.vwap - 1) * 100)}` : "");
  fill("tile-traded", format.compact(totals.traded_value), against(totals.traded_value, summary.typical_sales), format.exact(totals.traded_value));
  fill("tile-trades", format.compact(totals.trade_count), totals.trade_count ? `${format.compact(totals.volume / totals.trade_count)} a trade` : "", format.exact(totals.trade_count));
  fill("tile-minute", summary.last_range_bp == null ? "–" : `${summary.last_range_bp.toFixed(1)} bp`, "of its close");
  const age = isReplay ? "recorded market time" : format.age(now - summary.as_of);
  const isToday = format.day(summary.as_of, zone) === format.day(now, zone);
  const clock = format.time(summary.as_of, { seconds: true, now: summary.as_of, zone }); // without its day, for which the tile is too narrow
  fill("tile-asof", clock, isToday ? age : `${format.day(summary.as_of, zone)} · ${age}`);
}

/**
 * @param {number} value
 * @param {number | null} typical
 */
function against(value, typical) {
  return typical ? `${(value / typical).toFixed(2)}× typical` : "no history yet";
}

// A bar from the day's low to its high, with a mark at the price.
/**
 * @param {HTMLElement} mark
 * @param {SymbolSummary} summary
 */
function drawRange(mark, { price, totals: { low, high } }) {
  const share = high > low ? (price - low) / (high - low) : 0.5;
  mark.style.insetInlineStart = `${(Math.min(1, Math.max(0, share)) * 100).toFixed(1)}%`;
}

/**
 * @param {HTMLElement} element
 * @param {SymbolSummary} summary
 * @param {(value: number) => string} write
 */
function drawChange(element, summary, write) {
  const { change_amount: amount, change_percent: percent } = summary;
  setAttribute(element, "class", `change ${format.direction(amount)}`);
  setText(element, amount == null ? "" : `${format.arrow(amount)} ${format.signed(amount, write)} (${format.percent(percent)})`);
}
