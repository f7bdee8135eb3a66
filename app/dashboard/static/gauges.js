// Half-circle gauges in SVG: the value so far today, a mark at what is usual by this minute.

import * as format from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const ARC = "M 14 84 A 66 66 0 0 1 146 84";

function part(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function make(figure) {
  const svg = part("svg", { viewBox: "0 0 160 100", "aria-hidden": "true" });
  svg.append(
    part("path", { d: ARC, class: "track" }),
    part("path", { d: ARC, class: "fill", pathLength: "100" }),
    part("path", { class: "usual" }),
    part("text", { x: "80", y: "80" }),
  );
  const caption = document.createElement("figcaption");
  figure.setAttribute("role", "meter");
  figure.setAttribute("aria-valuemin", "0");
  figure.append(svg, caption);
}

export function drawGauge(figure, name, gauge) {
  if (!figure.firstChild) make(figure);
  const [, fill, mark, text] = figure.querySelector("svg").children;
  const share = gauge?.max ? Math.min(1, gauge.value / gauge.max) : 0;
  fill.setAttribute("stroke-dasharray", `${share * 100} 200`);
  text.textContent = format.compact(gauge?.value);
  const usual = gauge?.usual == null ? "usual: not known yet" : `usual by now: ${format.compact(gauge.usual)}`;
  if (gauge?.usual) mark.setAttribute("d", markAt(gauge.usual / gauge.max));
  else mark.removeAttribute("d");
  figure.querySelector("figcaption").textContent = `${name} · ${usual}`;
  figure.setAttribute("aria-label", name);
  figure.setAttribute("aria-valuemax", gauge?.max ?? 0);
  figure.setAttribute("aria-valuenow", gauge?.value ?? 0);
  figure.setAttribute("aria-valuetext", `${format.compact(gauge?.value)}, ${usual}`);
}

function markAt(share) {
  const angle = Math.PI * (1 - Math.min(1, share));
  const at = (radius) => `${80 + radius * Math.cos(angle)} ${84 - radius * Math.sin(angle)}`;
  return `M ${at(56)} L ${at(76)}`;
}
