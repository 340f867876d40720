/** Times and spans. The server counts UTC nanoseconds; days of the ledger are days of UTC. */

export const NS_PER_MS = 1_000_000;
export const DAY_MS = 86_400_000;
export const DAY_NS = DAY_MS * NS_PER_MS;

export const toMs = (ns: number): number => Math.floor(ns / NS_PER_MS);
export const toNs = (ms: number): number => ms * NS_PER_MS;

export function startOfDay(ms: number): number {
  return Math.floor(ms / DAY_MS) * DAY_MS;
}

const iso = (ms: number) => new Date(ms).toISOString();

/** The day of UTC as forms and URLs write it: 2026-11-23. */
export const dayOf = (ms: number): string => iso(ms).slice(0, 10);

/** Midnight of a written day in UTC; null if it is none. */
export function parseDay(text: string | null): number | null {
  if (text === null || !/^\d{4}-\d{2}-\d{2}$/.test(text)) return null;
  const ms = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(ms) ? null : ms;
}

const LOCAL: Intl.DateTimeFormatOptions = {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit',
};

export function dateTime(ns: number, locale?: string): string {
  return new Date(toMs(ns)).toLocaleString(locale, LOCAL);
}

export function date(ns: number, locale?: string): string {
  return new Date(toMs(ns)).toLocaleDateString(locale, {
    year: 'numeric', month: 'short', day: 'numeric',
  });
}

/** A day of a plot, which is one of UTC. */
export function shortDay(ms: number, locale?: string): string {
  return new Date(ms).toLocaleDateString(locale, {
    month: 'short', day: 'numeric', timeZone: 'UTC',
  });
}

export function month(ms: number, locale?: string): string {
  return new Date(ms).toLocaleDateString(locale, {
    month: 'short', year: 'numeric', timeZone: 'UTC',
  });
}

/** How long ago, or in how long, in the largest unit that fits. */
export function ago(ns: number, nowMs: number, locale?: string): string {
  const seconds = (toMs(ns) - nowMs) / 1000;
  const units = [['day', 86_400], ['hour', 3600], ['minute', 60]] as const;
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' });
  return format.format(Math.trunc(seconds / size), unit);
}

/** A length of time in hours, minutes and seconds. */
export function lasting(ns: number): string {
  const seconds = ns / 1e9;
  if (seconds < 1) return `${Math.round(ns / NS_PER_MS)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600).toLocaleString()} h ${Math.round((seconds % 3600) / 60)} min`;
}

export interface Span {
  fromMs: number;
  toMs: number;
}

/** The last `days` days, today among them, up to the next midnight. */
export function lastDays(days: number, nowMs: number): Span {
  const end = startOfDay(nowMs) + DAY_MS;
  return { fromMs: end - days * DAY_MS, toMs: end };
}

/** Every day of a span. */
export function daysOf(span: Span): number[] {
  const count = Math.max(0, Math.round((span.toMs - span.fromMs) / DAY_MS));
  return Array.from({ length: count }, (_, at) => span.fromMs + at * DAY_MS);
}
