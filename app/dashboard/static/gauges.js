// Half-circle gauges in SVG: the value so far today, with a mark at the typical value by this minute.

import { byId, createSvg, inside, setAttribute, setText } from "./elements.js";
import * as format from "./format.js";

const ARC = "M 14 84 A 66 66 0 0 1 146 84";

/** @type {Record<SymbolClass, string>} */
const CLASSES = { us_stock: "All stocks", crypto: "All crypto", forex: "All forex", future: "All futures", other: "All other symbols" };

/**
 * Those of the chosen symbol, and of all symbols of its class.
 * @param {import("./store.js").State} state
 */
export function drawGauges({ gauges, classGauges, symbol, summaries }) {
  const summary = summaries.get(symbol ?? "");
  const days = summary?.typical_days;
  drawPair("", symbol, gauges[symbol ?? ""]);
  if (summary) drawPair("-class", CLASSES[summary.symbol_class], classGauges[summary.symbol_class]);
  else drawPair("-class", null, undefined);
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
  drawGauge(byId(`gauge-volume${suffix}`), `${name ?? "No symbol"}: volume`, both?.volume, both ? "not added up: units differ" : undefined);
  drawGauge(byId(`gauge-sales${suffix}`), `${name ?? "No symbol"}: sales`, both?.sales);
}

/** @param {HTMLElement} figure */
function create(figure) {
  const svg = createSvg("svg", { viewBox: "0 0 160 100", "aria-hidden": "true" });
  svg.append(
    createSvg("path", { d: ARC, class: "track" }),
    createSvg("path", { d: ARC, class: "fill", pathLength: 100 }),
    createSvg("path", { class: "typical" }),
    createSvg("text", { x: 80, y: 80 }),
  );
  setAttribute(figure, "role", "meter");
  setAttribute(figure, "aria-valuemin", 0);
  figure.append(svg, document.createElement("figcaption"));
}

/**
 * @param {HTMLElement} figure
 * @param {string} name
 * @param {Gauge | undefined} gauge
 * @param {string} withoutGauge what the caption has in its place
 */
function drawGauge(figure, name, gauge, withoutGauge = "no history yet") {
  if (!figure.firstChild) create(figure);
  const [, fill, mark, text] = inside(figure, "svg", SVGElement).children;
  const share = gauge?.typical ? Math.min(1, gauge.value / gauge.max) : 0; // without history there is no scale
  const typical = !gauge ? withoutGauge : gauge.typical == null ? "no history yet" : `typical by now: ${format.compact(gauge.typical)} (${(gauge.relative ?? 0).toFixed(2)}×)`;
  setAttribute(fill, "stroke-dasharray", `${(share * 100).toFixed(1)} 200`);
  setText(text, format.compact(gauge?.value));
  setAttribute(mark, "d", gauge?.typical ? markAt(gauge.typical / gauge.max) : null);
  setText(inside(figure, "figcaption"), `${name} · ${typical}`);
  setAttribute(figure, "aria-label", name);
  setAttribute(figure, "aria-valuemax", gauge?.max ?? 0);
  setAttribute(figure, "aria-valuenow", gauge?.value ?? 0);
  setAttribute(figure, "aria-valuetext", `${format.compact(gauge?.value)}, ${typical}`);
}

/** @param {number} share of the scale */
function markAt(share) {
  const angle = Math.PI * (1 - Math.min(1, share));
  const at = (/** @type {number} */ radius) => `${80 + radius * Math.cos(angle)} ${84 - radius * Math.sin(angle)}`;
  return `M ${at(56)} L ${at(76)}`;
}
