/** Figures and dates as people read them. */

const DAY_MS = 86_400_000;

function startOfDay(ms: number): number {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** The heading under which a conversation of `ms` stands in the list. */
export function dayName(ms: number, nowMs: number, locale?: string): string {
  const days = Math.round((startOfDay(nowMs) - startOfDay(ms)) / DAY_MS);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days < 7) return new Date(ms).toLocaleDateString(locale, { weekday: 'long' });
  const sameYear = new Date(ms).getFullYear() === new Date(nowMs).getFullYear();
  const month: Intl.DateTimeFormatOptions = { month: 'long' };
  return new Date(ms).toLocaleDateString(locale, sameYear ? month : { ...month, year: 'numeric' });
}

/** Consecutive items of one day together, in the order given. */
export function groupByDay<T extends { updated_ms: number }>(
  items: readonly T[], nowMs: number, locale?: string,
): { day: string; items: T[] }[] {
  const groups: { day: string; items: T[] }[] = [];
  for (const item of items) {
    const day = dayName(item.updated_ms, nowMs, locale);
    const last = groups.at(-1);
    if (last?.day === day) last.items.push(item);
    else groups.push({ day, items: [item] });
  }
  return groups;
}

/** 850 → "850 ms", 3210 → "3.2 s", 75000 → "1 min 15 s". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** Integer nano-dollars as dollars, small sums with the digits they need. */
export function dollars(nano: number): string {
  if (nano === 0) return '$0';
  const value = nano / 1e9;
  if (value >= 0.01) return `$${value.toFixed(2)}`;
  return `$${value.toPrecision(2).includes('e') ? value.toFixed(9) : Number(value.toPrecision(2))}`;
}

/** Tokens per second while decoding, i.e. after the first token; null if it cannot be known. */
export function speed(receipt: {
  output_tokens: number; first_token_ms: number | null; duration_ms: number | null;
}): number | null {
  const { output_tokens: tokens, first_token_ms: first, duration_ms: whole } = receipt;
  if (first === null || whole === null || whole <= first || tokens < 2) return null;
  return (tokens - 1) / ((whole - first) / 1000);
}

/** Messages of the server, which begin small and end without a stop, as sentences. */
export function sentences(...parts: (string | null | undefined)[]): string {
  return parts
    .filter((part): part is string => typeof part === 'string' && part !== '')
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1) + (/[.!?…]$/.test(part) ? '' : '.'))
    .join(' ');
}
