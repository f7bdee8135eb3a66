// Tree map of all symbols, grouped by sector: area by a chosen measure, colour by change in percent.

import { setAttribute, setText } from "./elements.js";
import * as format from "./format.js";
import "./vendor/d3-hierarchy.min.js"; // defines d3

const SVG = "http://www.w3.org/2000/svg";
const STEPS = [0.05, 0.75, 2]; // percent, where the colour gets stronger; the legend states them
const HEADER = 17; // height of a sector's title
const [SMALLEST, LARGEST] = [9, 30]; // font sizes; what does not fit in the smallest has its tooltip
const LETTER = 0.66; // mean width of a letter, of the font size
const CHANGE_SIZE = 0.62; // of the name's font size
export const SIZES = {
  traded_value: { title: "traded value", of: ({ totals }) => totals.traded_value },
  volume: { title: "volume", of: ({ totals }) => totals.volume },
  price: { title: "price", of: ({ price }) => price },
};

export class TreeMap {
  constructor(element, choose) {
    this.element = element;
    this.choose = choose;
    this.groups = new Map();
    this.summaries = [];
    this.chosen = null;
    this.size = "traded_value";
    this.svg = create("svg", { role: "group" });
    this.sectors = create("g", {});
    this.svg.append(this.sectors);
    element.append(this.svg);
    this.area = { width: 0, height: 0 }; // known of the observer: to ask the element makes the browser lay out the page
    new ResizeObserver(([{ contentRect }]) => {
      this.area = contentRect;
      this.draw(this.summaries, this.chosen, this.size);
    }).observe(element);
  }

  /** @param {SymbolSummary[]} summaries */
  draw(summaries, chosen, size) {
    Object.assign(this, { summaries, chosen, size });
    const measure = SIZES[size] ?? SIZES.traded_value;
    setAttribute(this.svg, "aria-label", `Symbols by ${measure.title}`);
    if (!this.area.width) return; // it is drawn when the observer has measured it
    const leaves = this.#layout(summaries.filter((summary) => measure.of(summary) > 0), measure);
    const gone = new Set(this.groups.keys());
    for (const leaf of leaves) {
      gone.delete(leaf.data.symbol);
      this.#drawSymbol(leaf, measure);
    }
    for (const symbol of gone) {
      this.groups.get(symbol).remove();
      this.groups.delete(symbol);
    }
  }

  /** @param {SymbolSummary[]} summaries */
  #layout(summaries, measure) {
    const { width, height } = this.area;
    const bySector = new Map();
    for (const summary of summaries) {
      const sector = summary.sector ?? "Other";
      bySector.set(sector, [...(bySector.get(sector) ?? []), summary]);
    }
    const isGrouped = bySector.size > 1;
    const children = isGrouped ? [...bySector].map(([sector, members]) => ({ sector, children: members })) : summaries;
    /** @type {import("d3-hierarchy").HierarchyRectangularNode<any>} */
    const root = d3.treemap().round(true).size([width, height]).paddingInner(2).paddingTop((node) => (isGrouped && node.depth === 1 ? HEADER : 0))(d3.hierarchy(/** @type {any} */ ({ children })).sum((node) => (node.symbol ? measure.of(node) : 0)).sort((a, b) => b.value - a.value));
    this.#drawSectors(isGrouped ? root.children : []);
    return summaries.length ? root.leaves() : [];
  }

  #drawSectors(sectors) {
    while (this.sectors.children.length > sectors.length) this.sectors.lastChild.remove();
    while (this.sectors.children.length < sectors.length) {
      const title = create("text", { class: "sector" });
      title.append(create("title", {}), document.createTextNode(""));
      this.sectors.append(title);
    }
    sectors.forEach((sector, index) => {
      const title = this.sectors.children[index];
      setAttribute(title, "x", sector.x0 + 3);
      setAttribute(title, "y", sector.y0 + 12);
      setText(title.firstChild, sector.data.sector);
      setText(title.lastChild, shorten(sector.data.sector, (sector.x1 - sector.x0) / 6.8));
    });
  }

  #drawSymbol({ data: summary, x0, y0, x1, y1 }, measure) {
    const group = this.groups.get(summary.symbol) ?? this.#create(summary.symbol);
    const [title, rect, name, change] = group.children;
    const [width, height] = [x1 - x0, y1 - y0];
    group.classList.toggle("chosen", summary.symbol === this.chosen);
    const words = describe(summary, measure);
    setText(title, words.join("\n"));
    setAttribute(group, "aria-label", words.join(", "));
    setAttribute(rect, "class", shade(summary.change_percent));
    for (const [key, value] of Object.entries({ x: x0, y: y0, width, height })) setAttribute(rect, key, Math.max(0, value));
    const short = summary.symbol.split(":").at(-1);
    const text = `${format.arrow(summary.change_percent)} ${format.percent(summary.change_percent)}`;
    const longest = Math.max(short.length, text.length * CHANGE_SIZE);
    const size = Math.min(LARGEST, (width - 8) / (longest * LETTER), (height - 6) / (1.1 + CHANGE_SIZE * 1.3));
    const [x, middle] = [(x0 + x1) / 2, (y0 + y1) / 2];
    if (size * CHANGE_SIZE >= SMALLEST) {
      write(name, short, x, middle - size * 0.05, size);
      write(change, text, x, middle + size * 0.85, size * CHANGE_SIZE);
    } else {
      const alone = Math.min(14, (width - 6) / (short.length * LETTER), height - 4);
      write(name, alone >= SMALLEST ? short : "", x, middle + alone * 0.35, Math.max(alone, SMALLEST));
      write(change, "", x, middle, SMALLEST);
    }
    if (summary.symbol === this.chosen && group !== this.svg.lastChild) this.svg.append(group); // draws its frame over its neighbours'
  }

  #create(symbol) {
    const group = create("g", { tabindex: "0", role: "button" });
    group.append(create("title", {}), create("rect", {}), create("text", { class: "name" }), create("text", {}));
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

// Fills `element` with the colour scale: a swatch per step with the change it stands for.
export function drawLegend(element) {
  const classes = ["d3", "d2", "d1", "flat", "u1", "u2", "u3"];
  const texts = ["−2 %", "", "", "0", "", "", "+2 %"];
  element.replaceChildren(...classes.map((name, index) => {
    const swatch = document.createElement("span");
    swatch.className = name;
    swatch.textContent = texts[index];
    return swatch;
  }));
  element.title = `Change in percent; steps at ${STEPS.map((step) => `±${step}`).join(", ")} %`;
}

function describe(summary, measure) {
  const words = [
    summary.symbol,
    `price ${format.price(summary.price, summary.digits)}`,
    `change ${format.percent(summary.change_percent)}`,
    `traded value ${format.compact(summary.totals.traded_value)}`,
    `relative volatility ${summary.relative_volatility == null ? "not known yet" : summary.relative_volatility.toFixed(2)}`,
  ];
  if (measure === SIZES.volume) words.push(`volume ${format.compact(summary.totals.volume)}`);
  if (summary.sector) words.push(summary.sector);
  return words;
}

function shade(change) {
  const step = STEPS.filter((limit) => Math.abs(change ?? 0) >= limit).length;
  return step === 0 ? "flat" : (change > 0 ? "u" : "d") + step;
}

// As much of the text as fits; nothing when that is less than two characters.
function shorten(text, room) {
  if (text.length <= room) return text;
  return room >= 3 ? `${text.slice(0, Math.floor(room) - 1)}…` : "";
}

function write(text, words, x, y, size) {
  setText(text, words);
  for (const [name, value] of [["x", x.toFixed(1)], ["y", y.toFixed(1)], ["font-size", size.toFixed(1)]]) setAttribute(text, name, value);
}

function create(tag, attributes) {
  const created = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  return created;
}
