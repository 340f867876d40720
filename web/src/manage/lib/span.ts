/** The span and the grouping of a view, as its URL says them. */

import { DAY_MS, dayOf, daysOf, lastDays, parseDay, toNs, type Span } from './time';

export const SPANS = ['7', '30', '90', 'custom'] as const;
export type SpanName = (typeof SPANS)[number];

export interface Chosen extends Span {
  name: SpanName;
}

/** The span of a query: the last days, or from a day to a day, both among them. */
export function readSpan(query: URLSearchParams, nowMs: number): Chosen {
  const from = parseDay(query.get('from'));
  const to = parseDay(query.get('to'));
  if (from !== null && to !== null && from <= to) {
    return { name: 'custom', fromMs: from, toMs: to + DAY_MS };
  }
  const name = (['7', '90'] as const).find((days) => days === query.get('span')) ?? '30';
  return { name, ...lastDays(Number(name), nowMs) };
}

/** What the query must say for a span to hold. */
export function writeSpan(name: SpanName, span: Span): Record<string, string | null> {
  if (name !== 'custom') return { span: name === '30' ? null : name, from: null, to: null };
  return { span: null, from: dayOf(span.fromMs), to: dayOf(span.toMs - DAY_MS) };
}

/** The columns of a plot over a span: its days, or where it is long its months. */
export function columnsOf(span: Span, step: 'day' | 'month'): number[] {
  if (step === 'day') return daysOf(span);
  const first = new Date(span.fromMs);
  const months: number[] = [];
  for (let month = 0; ; month += 1) {
    const ms = Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + month, 1);
    if (ms >= span.toMs) return months;
    months.push(ms);
  }
}

export const bounds = (span: Span) => ({ from_ns: toNs(span.fromMs), to_ns: toNs(span.toMs) });
