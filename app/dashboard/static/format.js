// Formats of numbers and times. Times are UNIX ms, shown in the viewer's time zone.

const NONE = "–";
const compactFormat = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const dayFormat = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const yearFormat = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const secondFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

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

export const day = (ms) =>
  (new Date(ms).getFullYear() === new Date().getFullYear() ? dayFormat : yearFormat).format(ms);
export const minute = (ms) => timeFormat.format(ms);
export const dayAndMinute = (ms) => `${day(ms)}, ${minute(ms)}`;
export const utc = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

export function time(ms, { seconds = false, now = Date.now() } = {}) {
  const element = document.createElement("time");
  if (ms == null) {
    element.textContent = NONE;
    return element;
  }
  const clock = (seconds ? secondFormat : timeFormat).format(ms);
  element.textContent = day(ms) === day(now) ? clock : `${day(ms)}, ${clock}`;
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
