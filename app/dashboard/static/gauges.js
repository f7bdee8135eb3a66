// Half-circle gauges in SVG: the value so far today, with a mark at the typical value by this minute.

import { byId, setAttribute, setText } from "./elements.js";
import * as format from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const ARC = "M 14 84 A 66 66 0 0 1 146 84";

/** @type {Record<SymbolClass, string>} */
const CLASSES = { us_stock: "All stocks", crypto: "All crypto", forex: "All forex", future: "All futures", other: "All other symbols" };

/**
 * Those of the chosen symbol, and of all symbols of its class.
 * @param {import("./store.js").State} state
 */
export function drawGauges({ gauges, classGauges, symbol, summaries }) {
  const symbolClass = summaries.get(symbol)?.symbol_class;
  drawPair("", symbol, gauges[symbol]);
  drawPair("-class", CLASSES[symbolClass], classGauges[symbolClass]);
  const days = summaries.get(symbol)?.typical_days;
  setText(byId("gauges-hint"), days
    ? `Today so far. Mark: median of ${days} earlier ${days === 1 ? "day" : "days"} by now.`
    : "Today so far, no history yet.");
}

/**
 * @param {string} suffix of the elements' ids
 * @param {string | null} name
 * @param {Record<string, Gauge> | undefined} both
 */
function drawPair(suffix, name, both) {
  drawGauge(byId(`gauge-volume${suffix}`), `${name ?? "No symbol"}: volume`, both?.volume);
  drawGauge(byId(`gauge-sales${suffix}`), `${name ?? "No symbol"}: sales`, both?.sales);
}

function element(tag, attributes) {
  const created = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  return created;
}

function create(figure) {
  const svg = element("svg", { viewBox: "0 0 160 100", "aria-hidden": "true" });
  svg.append(
    element("path", { d: ARC, class: "track" }),
    element("path", { d: ARC, class: "fill", pathLength: "100" }),
    element("path", { class: "typical" }),
    element("text", { x: "80", y: "80" }),
  );
  const caption = document.createElement("figcaption");
  figure.setAttribute("role", "meter");
  figure.setAttribute("aria-valuemin", "0");
  figure.append(svg, caption);
}

/**
 * @param {HTMLElement} figure
 * @param {string} name
 * @param {Gauge | undefined} gauge
 */
function drawGauge(figure, name, gauge) {
  if (!figure.firstChild) create(figure);
  const [, fill, mark, text] = figure.querySelector("svg").children;
  const share = gauge?.typical ? Math.min(1, gauge.value / gauge.max) : 0; // without history there is no scale
  setAttribute(fill, "stroke-dasharray", `${(share * 100).toFixed(1)} 200`);
  setText(text, format.compact(gauge?.value));
  const typical = gauge?.typical == null ? "no history yet" : `typical by now: ${format.compact(gauge.typical)} (${gauge.relative.toFixed(2)}×)`;
  setAttribute(mark, "d", gauge?.typical ? markAt(gauge.typical / gauge.max) : null);
  setText(figure.querySelector("figcaption"), `${name} · ${typical}`);
  setAttribute(figure, "aria-label", name);
  setAttribute(figure, "aria-valuemax", gauge?.max ?? 0);
  setAttribute(figure, "aria-valuenow", gauge?.value ?? 0);
  setAttribute(figure, "aria-valuetext", `${format.compact(gauge?.value)}, ${typical}`);
}

function markAt(share) {
  const angle = Math.PI * (1 - Math.min(1, share));
  const at = (radius) => `${80 + radius * Math.cos(angle)} ${84 - radius * Math.sin(angle)}`;
  return `M ${at(56)} L ${at(76)}`;
}
