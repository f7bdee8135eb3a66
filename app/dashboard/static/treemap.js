// A squarified tree map in SVG: a rectangle a symbol, its size the traded value.

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
    new ResizeObserver(() => this.draw(this.lines ?? [], this.chosen)).observe(element);
  }

  draw(lines, chosen) {
    [this.lines, this.chosen] = [lines, chosen];
    const { clientWidth: width, clientHeight: height } = this.element;
    const sized = lines
      .filter((line) => line.totals.traded_value > 0)
      .sort((a, b) => b.totals.traded_value - a.totals.traded_value);
    const places = squarify(sized.map((line) => line.totals.traded_value), width, height);
    const gone = new Set(this.groups.keys());
    sized.forEach((line, index) => {
      gone.delete(line.symbol);
      this.#place(line, places[index]);
    });
    for (const symbol of gone) {
      this.groups.get(symbol).remove();
      this.groups.delete(symbol);
    }
  }

  #place(line, [x, y, width, height]) {
    const group = this.groups.get(line.symbol) ?? this.#make(line.symbol);
    const [title, rect, name, change] = group.children;
    group.classList.toggle("chosen", line.symbol === this.chosen);
    const words = describe(line);
    if (title.textContent !== words.join("\n")) title.textContent = words.join("\n");
    group.setAttribute("aria-label", words.join(", "));
    rect.setAttribute("class", shade(line.change_percent));
    for (const [key, value] of Object.entries({ x, y, width, height })) rect.setAttribute(key, Math.max(0, value));
    const short = line.symbol.split(":").at(-1);
    write(name, short, x + 6, y + 17, short.length * 9.4 + 10 < width && height > 22);
    const text = `${format.arrow(line.change_percent)} ${format.percent(line.change_percent)}`;
    write(change, text, x + 6, y + 34, text.length * 7.5 + 10 < width && height > 40);
    if (line.symbol === this.chosen) this.svg.append(group); // its frame lies over its neighbours'
  }

  #make(symbol) {
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

function describe(line) {
  const words = [
    line.symbol,
    `price ${format.price(line.price, line.digits)}`,
    `change ${format.percent(line.change_percent)}`,
    `traded value ${format.compact(line.totals.traded_value)}`,
    `relative volatility ${line.relative_volatility == null ? "not known yet" : line.relative_volatility.toFixed(2)}`,
  ];
  if (line.sector) words.push(line.sector);
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
// `sizes` fall; returns [x, y, width, height] of each.
export function squarify(sizes, width, height) {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const areas = sizes.map((size) => (size / total) * width * height);
  const places = [];
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
      places.push(w >= h ? [x, y + along, depth, length] : [x + along, y, length, depth]);
      along += length;
    }
    if (w >= h) [x, w] = [x + depth, w - depth];
    else [y, h] = [y + depth, h - depth];
    first = last;
  }
  return places;
}

function worst(row, side) {
  const sum = row.reduce((total, area) => total + area, 0);
  return Math.max((side ** 2 * row[0]) / sum ** 2, sum ** 2 / (side ** 2 * row.at(-1)));
}
