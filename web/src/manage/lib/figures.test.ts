import { expect, it } from 'vitest';
import { count, percentage, rate, short } from './figures';

it('reads counts', () => {
  expect([0, 9_999, 12_345, 1_234_567, 98_765_432_100].map(short)).toEqual([
    '0', '9,999', '12.3k', '1.23M', '98.8B',
  ]);
  expect([0, 0.5, 312.53, 12.34].map(rate)).toEqual(['0', '0.5', '313', '12.3']);
  expect(count(1_234_567)).toBe('1,234,567');
  expect([12, 33.33, -4.25].map(percentage)).toEqual(['12 %', '33.3 %', '−4.3 %']);
});
