// Key figures of the chosen symbol, each with its source.

import * as format from "./format.js";

const FROM = { live: "live candles", gold: "warehouse" };

function fill(id, value, note, change) {
  const tile = document.getElementById(id);
  const field = tile.querySelector(".value");
  if (value instanceof Node) field.replaceChildren(value);
  else field.textContent = value;
  tile.querySelector(".note").textContent = note;
  return tile;
}

export function drawTiles(summary, now, isReplay) {
  if (!summary) {
    for (const name of ["price", "range", "volume", "vwap", "traded", "asof"]) fill(`tile-${name}`, "–", "no candle yet");
    document.querySelector("#tile-price .change").textContent = "";
    return;
  }
  const { totals, digits } = summary;
  const write = (value) => format.price(value, digits);
  const since = totals.since == null ? "" : `, since ${format.dayAndMinute(totals.since)}`;
  const from = `${FROM[totals.source]}${since}`;
  const tile = fill("tile-price", write(summary.price), `${FROM[summary.price_source]} · ${summary.session ?? ""} ${summary.session_date}`);
  drawChange(tile.querySelector(".change"), summary, write);
  fill("tile-range", `${write(totals.low)}\u00a0– ${write(totals.high)}`, from);
  fill("tile-volume", format.compact(totals.volume), from).querySelector(".value").title = format.exact(totals.volume);
  fill("tile-vwap", write(totals.vwap), from);
  fill("tile-traded", format.compact(totals.traded_value), from).querySelector(".value").title = format.exact(totals.traded_value);
  fill("tile-asof", format.time(summary.as_of, { seconds: true, now }), isReplay ? "recorded market time" : format.age(now - summary.as_of));
}

function drawChange(element, summary, write) {
  const { change_amount: amount, change_percent: percent } = summary;
  element.className = `change ${format.direction(amount)}`;
  element.textContent = amount == null ? "" : `${format.arrow(amount)} ${format.signed(amount, write)} (${format.percent(percent)})`;
  element.title = summary.change_basis ? `against the ${summary.change_basis}` : "";
  if (summary.change_basis) element.append(` vs ${summary.change_basis}`);
}
