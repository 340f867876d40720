import { describe, expect, it } from 'vitest';
import { course, volumes } from './curves';
import { dayOf, toNs } from './time';
import type { BreakevenRow, BudgetBurn, SpendRow } from './types';

const NOW = Date.UTC(2026, 10, 4, 12);
const budget = {
  period: 'month', limit_nano: 100, spent_nano: 40, per_day_nano: 10, spent_at_ns: null,
  window_start_ns: toNs(Date.UTC(2026, 10, 1)), window_end_ns: toNs(Date.UTC(2026, 11, 1)),
} as BudgetBurn;
const day = (id: string, price: number) => ({ id, price_nano: price }) as SpendRow;

describe('course', () => {
  it('sums the days so far and goes on at the present rate', () => {
    const made = course(budget, [day('2026-11-01', 15), day('2026-11-03', 20), day('2026-11-04', 5)], NOW);
    expect(made?.xs.map(dayOf).at(-1)).toBe('2026-11-30');
    expect(made?.spent.slice(0, 6)).toEqual([15, 15, 35, 40, null, null]);
    expect(made?.ahead.slice(2, 6)).toEqual([null, 40, 50, 60]);
  });

  it('draws no days of an hour, and bounds windows without an end', () => {
    expect(course({ ...budget, period: 'hour' }, [], NOW)).toBeNull();
    const once = course(
      { ...budget, period: 'once', window_start_ns: 0, window_end_ns: null }, [], NOW,
    );
    expect(once?.xs.length).toBeLessThan(200);
    expect(once?.spent[0]).toBe(40);
  });
});

it('meets where the report says that it breaks even', () => {
  const row = {
    tokens_per_s: 100, machine_per_day_nano: 5_000_000_000, tokens_per_day: 1000,
    provider_per_million_nano: 1_000_000_000, breakeven_tokens_per_day: 5_000_000,
  } as BreakevenRow;
  const { xs, own, provider } = volumes(row);
  const at = xs.indexOf(5_000_000);
  expect(own[at]).toBe(provider[at]);
  expect(provider[0]).toBe(0);
  // Beyond what one machine can do in a day it takes a second.
  expect(own.at(-1)).toBe(2 * (own[0] ?? 0));
});
