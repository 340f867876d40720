import { describe, expect, it } from 'vitest';
import { dayName, dollars, duration, groupByDay, sentences, speed } from './format';

const noon = (day: number, month = 5, year = 2026) => new Date(year, month, day, 12).getTime();

describe('dayName', () => {
  it('names days by their distance', () => {
    const now = noon(15);
    expect(dayName(noon(15), now)).toBe('Today');
    expect(dayName(noon(14), now)).toBe('Yesterday');
    expect(dayName(noon(11), now, 'en')).toBe('Thursday');
    expect(dayName(noon(2), now, 'en')).toBe('June');
    expect(dayName(noon(2, 5, 2025), now, 'en')).toBe('June 2025');
  });

  it('groups neighbours', () => {
    const items = [15, 15, 14].map((day) => ({ updated_ms: noon(day) }));
    expect(groupByDay(items, noon(15)).map((group) => [group.day, group.items.length])).toEqual([
      ['Today', 2], ['Yesterday', 1],
    ]);
  });
});

it('formats durations', () => {
  expect([850.4, 3210, 75_000].map(duration)).toEqual(['850 ms', '3.2 s', '1 min 15 s']);
});

it('formats nano-dollars without losing small sums', () => {
  expect([0, 1_500_000_000, 4_200_000, 42_000, 7].map(dollars)).toEqual([
    '$0', '$1.50', '$0.0042', '$0.000042', '$0.000000007',
  ]);
});

it('computes decoding speed only where it can be known', () => {
  expect(speed({ output_tokens: 101, first_token_ms: 500, duration_ms: 2500 })).toBe(50);
  expect(speed({ output_tokens: 1, first_token_ms: 500, duration_ms: 500 })).toBeNull();
  expect(speed({ output_tokens: 9, first_token_ms: null, duration_ms: 500 })).toBeNull();
});

it('makes sentences of messages', () => {
  expect(sentences('the engine is gone', null, 'Try again.')).toBe('The engine is gone. Try again.');
  expect(sentences(undefined)).toBe('');
});
