import { describe, expect, it } from 'vitest';
import { exact, money, nano, parse, percent, readJson, sum, tick } from './money';

describe('money', () => {
  it('reads well at every size', () => {
    expect(
      [0, 7, 12_345, 9_999_999, 10_000_000, 12_340_000_000, 1_234_567_890_000_000].map(money),
    ).toEqual([
      '$0', '$0.000000007', '$0.000012', '$0.01', '$0.01', '$12.34', '$1,234,567.89',
    ]);
    expect(money(-5_000_000_000)).toBe('−$5.00');
    expect(money(-12_345)).toBe('−$0.000012');
  });

  it('shows every digit where it must', () => {
    expect(exact(1_500_000_000)).toBe('$1.50');
    expect(exact(1)).toBe('$0.000000001');
    expect(exact(-123_456_789_012n)).toBe('−$123.456789012');
    expect(exact(0)).toBe('$0.00');
  });

  it('sums exactly beyond what a float holds', () => {
    expect(sum(['9007199254740993', 1, 2n])).toBe(9_007_199_254_740_996n);
    const read = readJson<{ price_nano: string; small_nano: number; note: string }>(
      '{"price_nano":9007199254740993,"small_nano":5,"note":"\\"x_nano\\":9007199254740993"}',
    );
    expect(nano(read.price_nano)).toBe(9_007_199_254_740_993n);
    expect(read.small_nano).toBe(5);
    expect(read.note).toBe('"x_nano":9007199254740993');
  });

  it('parses what people type, and nothing else', () => {
    expect(['12.5', '$0.000000001', '7', ' 3,25 '].map(parse)).toEqual([
      12_500_000_000n, 1n, 7_000_000_000n, 3_250_000_000n,
    ]);
    expect(['', '-1', '1e3', '0.0000000001', 'ten'].map(parse)).toEqual([
      null, null, null, null, null,
    ]);
  });

  it('names steps of an axis', () => {
    expect([0, 2_500_000, 1e9, 1.5e12, 2e13, 5e15].map(tick)).toEqual([
      '$0', '$0.0025', '$1', '$1,500', '$20k', '$5M',
    ]);
  });

  it('takes shares', () => {
    expect([percent(1, 3), percent(5, 0), percent('9007199254740993', '9007199254740993')]).toEqual([
      33.33, 0, 100,
    ]);
  });
});
