// Formats of numbers and times. Times are UNIX ms; `zone` is an IANA name, undefined the viewer's.

const NONE = "–";
const compactFormat = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

// Formats of one time zone (an IANA name; undefined: the viewer's), made once each.
const FORMATS = {
  day: { month: "short", day: "numeric" },
  year: { year: "numeric", month: "short", day: "numeric" },
  minute: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
};
const made = new Map();

function formatter(kind, timeZone) {
  const key = `${kind} ${timeZone}`;
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(undefined, { ...FORMATS[kind], timeZone }));
  return made.get(key);
}

export const price = (value, digits) =>
  value == null ? NONE : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const compact = (value) => (value == null ? NONE : compactFormat.format(value));

export const exact = (value) => (value == null ? NONE : value.toLocaleString("en", { maximumFractionDigits: 8 }));

export function signed(value, write) {
  if (value == null) return NONE;
  return (value > 0 ? "+" : value < 0 ? "−" : "") + write(Math.abs(value));
}

export const percent = (value) => signed(value, (size) => `${size.toFixed(2)}\u00a0%`);

export const arrow = (value) => (value > 0 ? "▲" : value < 0 ? "▼" : "");

export const direction = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

const yearOf = (ms, zone) => formatter("year", zone).formatToParts(ms).find(({ type }) => type === "year").value;

export const day = (ms, zone) => formatter(yearOf(ms, zone) === yearOf(Date.now(), zone) ? "day" : "year", zone).format(ms);
export const minute = (ms, zone) => formatter("minute", zone).format(ms);
export const dayAndMinute = (ms, zone) => `${day(ms, zone)}, ${minute(ms, zone)}`;
export const isMidnight = (ms, zone) => minute(ms, zone) === "00:00";
export const utc = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/**
 * @param {number} ms
 * @param {{seconds?: boolean, now?: number, zone?: string}} options
 */
export function time(ms, { seconds = false, now = Date.now(), zone } = {}) {
  const element = document.createElement("time");
  if (ms == null) {
    element.textContent = NONE;
    return element;
  }
  const clock = formatter(seconds ? "second" : "minute", zone).format(ms);
  element.textContent = day(ms, zone) === day(now, zone) ? clock : `${day(ms, zone)}, ${clock}`;
  element.dateTime = new Date(ms).toISOString();
  element.title = utc(ms);
  return element;
}

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
