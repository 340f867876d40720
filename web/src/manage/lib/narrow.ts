/** Filters that reports and receipts share, by the names they have in URLs. */

import { path } from './place';
import { DAY_MS, dayOf, toMs } from './time';

export const NARROWED = [
  'team_id', 'account_id', 'key_id', 'model_id', 'release_digest', 'purpose', 'conversation_id',
] as const;
export type Narrowed = (typeof NARROWED)[number];

/** The filters of a query, null where it has none. */
export function narrowed(query: URLSearchParams): Record<Narrowed, string | null> {
  return Object.fromEntries(NARROWED.map((name) => [name, query.get(name)])) as Record<
    Narrowed, string | null
  >;
}

/** Where a page lists the receipts that the API lists at `receipts`. */
export function receiptsPage(receipts: string): string {
  const query = new URLSearchParams(receipts.split('?')[1] ?? '');
  const day = (name: string, backMs: number) => {
    const ns = query.get(name);
    query.delete(name);
    return ns === null ? null : dayOf(toMs(Number(ns)) - backMs);
  };
  const from = day('from_ns', 0);
  const to = day('to_ns', DAY_MS);
  if (from !== null && to !== null) {
    query.set('from', from);
    query.set('to', to);
  }
  return `${path('receipts')}?${query.toString()}`;
}
