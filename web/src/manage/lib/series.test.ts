import { expect, it } from 'vitest';
import { layers, series } from './series';
import { receiptsPage } from './narrow';
import { columnsOf, readSpan, writeSpan } from './span';
import { DAY_MS, dayOf, toNs } from './time';

const NOW = Date.UTC(2026, 10, 23, 12);
const point = (day: number, id: string, price: number) => ({
  day_ns: toNs(day), id, price_nano: price, cost_nano: 1, calls: 2,
});

it('layers the largest lowest and the rest on top', () => {
  const days = [0, DAY_MS, 2 * DAY_MS];
  const made = layers(
    [point(0, 'small', 5), point(DAY_MS, 'large', 50), point(0, 'other', 900), point(9 * DAY_MS, 'large', 1)],
    days, 'price_nano', (id) => id.toUpperCase(),
  );
  expect(made.map(({ name, series, values }) => [name, series, values])).toEqual([
    ['LARGE', 's-1', [0, 50, 0]], ['SMALL', 's-2', [5, 0, 0]], ['OTHER', 's-rest', [900, 0, 0]],
  ]);
  expect(series('x', 8)).toBe('s-rest');
});

it('reads the span that the URL says', () => {
  const custom = readSpan(new URLSearchParams('from=2026-10-01&to=2026-10-02'), NOW);
  expect([custom.name, dayOf(custom.toMs)]).toEqual(['custom', '2026-10-03']);
  expect(writeSpan('custom', custom)).toEqual({ span: null, from: '2026-10-01', to: '2026-10-02' });
  expect(readSpan(new URLSearchParams('span=7'), NOW).name).toBe('7');
  expect(readSpan(new URLSearchParams('span=8&from=2026-10-02&to=2026-10-01'), NOW).name).toBe('30');
  expect(writeSpan('30', custom)).toEqual({ span: null, from: null, to: null });
});

it('goes from a row of a report to its receipts', () => {
  const from = toNs(Date.UTC(2026, 10, 1));
  const to = toNs(Date.UTC(2026, 10, 8));
  expect(receiptsPage(`/admin/receipts?from_ns=${from}&to_ns=${to}&model_id=a%2Fb`)).toBe(
    '/manage/receipts?model_id=a%2Fb&from=2026-11-01&to=2026-11-07',
  );
});

it('has a column for each day, or for each month of a long span', () => {
  const span = { fromMs: Date.UTC(2025, 10, 20), toMs: Date.UTC(2026, 1, 3) };
  expect(columnsOf(span, 'day')).toHaveLength(75);
  expect(columnsOf(span, 'month').map(dayOf)).toEqual([
    '2025-11-01', '2025-12-01', '2026-01-01', '2026-02-01',
  ]);
});
