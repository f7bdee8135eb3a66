// Squarified tree map in SVG: one rectangle per symbol, its area the traded value.

import * as format from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const STEPS = [0.05, 0.75, 2]; // percent, where the colour gets stronger

export class TreeMap {
  constructor(element, choose) {
    this.element = element;
    this.choose = choose;
    this.groups = new Map();
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("role", "group");
    this.svg.setAttribute("aria-label", "Symbols by traded value");
    element.append(this.svg);
    new ResizeObserver(() => this.draw(this.summaries ?? [], this.chosen)).observe(element);
  }

  draw(summaries, chosen) {
    [this.summaries, this.chosen] = [summaries, chosen];
    const { clientWidth: width, clientHeight: height } = this.element;
    const sized = summaries
      .filter((summary) => summary.totals.traded_value > 0)
      .sort((a, b) => b.totals.traded_value - a.totals.traded_value);
    const rectangles = squarify(sized.map((summary) => summary.totals.traded_value), width, height);
    const gone = new Set(this.groups.keys());
    sized.forEach((summary, index) => {
      gone.delete(summary.symbol);
      this.#draw(summary, rectangles[index]);
    });
    for (const symbol of gone) {
      this.groups.get(symbol).remove();
      this.groups.delete(symbol);
    }
  }

  #draw(summary, [x, y, width, height]) {
    const group = this.groups.get(summary.symbol) ?? this.#create(summary.symbol);
    const [title, rect, name, change] = group.children;
    group.classList.toggle("chosen", summary.symbol === this.chosen);
    const words = describe(summary);
    if (title.textContent !== words.join("\n")) title.textContent = words.join("\n");
    group.setAttribute("aria-label", words.join(", "));
    rect.setAttribute("class", shade(summary.change_percent));
    for (const [key, value] of Object.entries({ x, y, width, height })) rect.setAttribute(key, Math.max(0, value));
    const short = summary.symbol.split(":").at(-1);
    write(name, short, x + 6, y + 17, short.length * 9.4 + 10 < width && height > 22);
    const text = `${format.arrow(summary.change_percent)} ${format.percent(summary.change_percent)}`;
    write(change, text, x + 6, y + 34, text.length * 7.5 + 10 < width && height > 40);
    if (summary.symbol === this.chosen) this.svg.append(group); // draws its frame over its neighbours'
  }

  #create(symbol) {
    const group = document.createElementNS(SVG, "g");
    for (const tag of ["title", "rect", "text", "text"]) group.append(document.createElementNS(SVG, tag));
    group.children[2].setAttribute("class", "name");
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    group.dataset.symbol = symbol;
    group.addEventListener("click", () => this.choose(symbol));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.choose(symbol);
      }
    });
    this.groups.set(symbol, group);
    this.svg.append(group);
    return group;
  }
}

function describe(summary) {
  const words = [
    summary.symbol,
    `price ${format.price(summary.price, summary.digits)}`,
    `change ${format.percent(summary.change_percent)}`,
    `traded value ${format.compact(summary.totals.traded_value)}`,
    `relative volatility ${summary.relative_volatility == null ? "not known yet" : summary.relative_volatility.toFixed(2)}`,
  ];
  if (summary.sector) words.push(summary.sector);
  return words;
}

function shade(change) {
  const step = STEPS.filter((limit) => Math.abs(change ?? 0) >= limit).length;
  return step === 0 ? "flat" : (change > 0 ? "u" : "d") + step;
}

function write(text, words, x, y, fits) {
  text.textContent = fits ? words : "";
  text.setAttribute("x", x);
  text.setAttribute("y", y);
}

// Rows of rectangles whose worst aspect ratio is smallest (Bruls, Huizing, van Wijk 2000).
// `sizes` are in descending order; returns [x, y, width, height] of each.
export function squarify(sizes, width, height) {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const areas = sizes.map((size) => (size / total) * width * height);
  const rectangles = [];
  let [x, y, w, h] = [0, 0, width, height];
  let first = 0;
  while (first < areas.length) {
    const side = Math.min(w, h);
    let last = first + 1;
    while (last < areas.length && worst(areas.slice(first, last + 1), side) <= worst(areas.slice(first, last), side)) last += 1;
    const row = areas.slice(first, last);
    const depth = side > 0 ? row.reduce((sum, area) => sum + area, 0) / side : 0;
    let along = 0;
    for (const area of row) {
      const length = depth > 0 ? area / depth : 0;
      rectangles.push(w >= h ? [x, y + along, depth, length] : [x + along, y, length, depth]);
      along += length;
    }
    if (w >= h) [x, w] = [x + depth, w - depth];
    else [y, h] = [y + depth, h - depth];
    first = last;
  }
  return rectangles;
}

function worst(row, side) {
  const sum = row.reduce((total, area) => total + area, 0);
  return Math.max((side ** 2 * row[0]) / sum ** 2, sum ** 2 / (side ** 2 * row.at(-1)));
}
