// The key figures of the chosen symbol, each with where it comes from.

import * as format from "./format.js";

const FROM = { live: "live candles", gold: "warehouse" };

function fill(id, value, note, change) {
  const tile = document.getElementById(id);
  const place = tile.querySelector(".value");
  if (value instanceof Node) place.replaceChildren(value);
  else place.textContent = value;
  tile.querySelector(".note").textContent = note;
  return tile;
}

export function drawTiles(line, now, isReplay) {
  if (!line) {
    for (const name of ["price", "range", "volume", "vwap", "traded", "asof"]) fill(`tile-${name}`, "–", "no candle yet");
    document.querySelector("#tile-price .change").textContent = "";
    return;
  }
  const { totals, digits } = line;
  const write = (value) => format.price(value, digits);
  const since = totals.since == null ? "" : `, since ${format.dayAndMinute(totals.since)}`;
  const from = `${FROM[totals.source]}${since}`;
  const tile = fill("tile-price", write(line.price), `${FROM[line.price_source]} · ${line.session ?? ""} ${line.session_date}`);
  drawChange(tile.querySelector(".change"), line, write);
  fill("tile-range", `${write(totals.low)}\u00a0– ${write(totals.high)}`, from);
  fill("tile-volume", format.compact(totals.volume), from).querySelector(".value").title = format.exact(totals.volume);
  fill("tile-vwap", write(totals.vwap), from);
  fill("tile-traded", format.compact(totals.traded_value), from).querySelector(".value").title = format.exact(totals.traded_value);
  fill("tile-asof", format.time(line.as_of, { seconds: true, now }), isReplay ? "recorded market time" : format.age(now - line.as_of));
}

function drawChange(element, line, write) {
  const { change_amount: amount, change_percent: percent } = line;
  element.className = `change ${format.direction(amount)}`;
  element.textContent = amount == null ? "" : `${format.arrow(amount)} ${format.signed(amount, write)} (${format.percent(percent)})`;
  element.title = line.change_basis ? `against the ${line.change_basis}` : "";
  if (line.change_basis) element.append(` vs ${line.change_basis}`);
}
