import { expect, it } from 'vitest';
import { DAY_MS, ago, dayOf, daysOf, lastDays, lasting, parseDay, toNs } from './time';

const NOON = Date.UTC(2026, 10, 23, 12);

it('takes spans of whole days of UTC', () => {
  const span = lastDays(7, NOON);
  expect([dayOf(span.fromMs), dayOf(span.toMs)]).toEqual(['2026-11-17', '2026-11-24']);
  expect(daysOf(span).map(dayOf)).toHaveLength(7);
});

it('sends midnights that a float holds exactly', () => {
  for (let day = 0; day < 400; day += 1) {
    const ms = Date.UTC(2026, 0, 1) + day * DAY_MS;
    expect(String(BigInt(toNs(ms)))).toBe(`${ms}000000`);
  }
});

it('reads days as they are written', () => {
  expect(parseDay('2026-11-23')).toBe(Date.UTC(2026, 10, 23));
  expect([null, '', '2026-13-01', '23.11.2026'].map(parseDay)).toEqual([null, null, null, null]);
});

it('tells how long ago and how long', () => {
  expect(ago(toNs(NOON - 3 * DAY_MS), NOON, 'en')).toBe('3 days ago');
  expect(ago(toNs(NOON + 7_200_000), NOON, 'en')).toBe('in 2 hr.');
  expect([5_000_000, 2.5e9, 75e9, 7_260e9].map(lasting)).toEqual([
    '5 ms', '2.5 s', '1 min 15 s', '2 h 1 min',
  ]);
});
