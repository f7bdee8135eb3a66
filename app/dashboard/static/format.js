// Formats of numbers and times. Times are UNIX ms; `zone` is an IANA name, undefined the viewer's.

const NONE = "–";

// A formatter takes long to make, so each is made when it is first needed, and once.
/** @type {Map<string, Intl.NumberFormat>} */
const numbers = new Map();
/** @type {Map<string, Intl.DateTimeFormat>} */
const times = new Map();

/** @type {Record<"day" | "year" | "minute" | "second", Intl.DateTimeFormatOptions>} */
const TIMES = {
  day: { month: "short", day: "numeric" },
  year: { year: "numeric", month: "short", day: "numeric" },
  minute: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
};

/**
 * @param {keyof typeof TIMES} kind
 * @param {string | undefined} timeZone
 */
function timeFormat(kind, timeZone) {
  const key = `${kind} ${timeZone}`;
  const locale = kind === "minute" || kind === "second" ? "en" : undefined; // clocks are written as numbers are
  const held = times.get(key) ?? new Intl.DateTimeFormat(locale, { ...TIMES[kind], timeZone });
  times.set(key, held);
  return held;
}

/**
 * @param {string} key
 * @param {Intl.NumberFormatOptions} options
 */
function numberFormat(key, options) {
  const held = numbers.get(key) ?? new Intl.NumberFormat("en", options);
  numbers.set(key, held);
  return held;
}

/**
 * @param {number | null | undefined} value
 * @param {number} digits
 */
export const price = (value, digits) =>
  value == null ? NONE : numberFormat(`price ${digits}`, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** @param {number | null | undefined} value */
export const compact = (value) => (value == null ? NONE : numberFormat("compact", { notation: "compact", maximumSignificantDigits: 4 }).format(value));

/** @param {number | null | undefined} value */
export const exact = (value) => (value == null ? NONE : numberFormat("exact", { maximumFractionDigits: 8 }).format(value));

/**
 * @param {number | null | undefined} value
 * @param {(size: number) => string} write
 */
export function signed(value, write) {
  if (value == null) return NONE;
  return (value > 0 ? "+" : value < 0 ? "−" : "") + write(Math.abs(value));
}

/** @param {number | null | undefined} value */
export const percent = (value) => signed(value, (size) => `${size.toFixed(2)}\u00a0%`);

/** @param {number | null | undefined} value */
export const arrow = (value) => ["▼", "", "▲"][Math.sign(value ?? 0) + 1];

/** @param {number | null | undefined} value */
export const direction = (value) => ["down", "", "up"][Math.sign(value ?? 0) + 1];

/** @typedef {string | undefined} Zone */

/** @type {(ms: number, zone: Zone) => string} */
const date = (ms, zone) => timeFormat("year", zone).format(ms);
/** @type {(ms: number, zone: Zone) => string | undefined} */
const yearOf = (ms, zone) => timeFormat("year", zone).formatToParts(ms).find(({ type }) => type === "year")?.value;

/** @type {(ms: number, zone: Zone) => string} */
export const day = (ms, zone) => (yearOf(ms, zone) === yearOf(Date.now(), zone) ? timeFormat("day", zone).format(ms) : date(ms, zone));
// A day's candle starts at midnight UTC of its session date, and is labelled with that date in every zone.
/** @type {(start: number) => string} */
export const sessionDay = (start) => day(start, "UTC");
/** @type {(ms: number, zone: Zone) => string} */
export const minute = (ms, zone) => (zone === "UTC" ? utc(ms).slice(11, 16) : timeFormat("minute", zone).format(ms));
/** @type {(ms: number, zone: Zone) => string} */
export const dayAndMinute = (ms, zone) => `${day(ms, zone)}, ${minute(ms, zone)}`;
/** @type {(ms: number, zone: Zone) => boolean} */
export const isMidnight = (ms, zone) => minute(ms, zone) === "00:00";
/** @param {number} ms */
export const utc = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/**
 * @param {number | null | undefined} ms
 * @param {{seconds?: boolean, now?: number, zone?: Zone}} options
 */
export function time(ms, { seconds = false, now = Date.now(), zone } = {}) {
  const element = document.createElement("time");
  if (ms == null) {
    element.textContent = NONE;
    return element;
  }
  const clock = timeFormat(seconds ? "second" : "minute", zone).format(ms);
  element.textContent = date(ms, zone) === date(now, zone) ? clock : `${day(ms, zone)}, ${clock}`;
  element.dateTime = new Date(ms).toISOString();
  element.title = utc(ms);
  return element;
}

/** @param {number} ms */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/**
 * Text with names of commands in backquotes, as nodes.
 * @param {string} text
 */
export function sentence(text) {
  return text.split("`").map((part, index) => {
    if (index % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}
