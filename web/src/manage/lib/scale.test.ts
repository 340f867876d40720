import { expect, it } from 'vitest';
import { band, everyNth, line, linear, stack, ticks } from './scale';

it('steps in figures that people count in', () => {
  expect(ticks(100)).toEqual([0, 25, 50, 75, 100]);
  expect(ticks(7)).toEqual([0, 2, 4, 6, 8]);
  expect(ticks(0.003).map((step) => step.toFixed(4))).toEqual(['0.0000', '0.0010', '0.0020', '0.0030']);
  expect(ticks(0)).toEqual([0, 1]);
  for (const top of [1, 3, 12_345, 9.99e14]) expect(ticks(top).at(-1)).toBeGreaterThanOrEqual(top);
});

it('maps figures to places', () => {
  const y = linear(0, 10, 200, 0);
  expect([0, 5, 10].map(y)).toEqual([200, 100, 0]);
  expect(linear(3, 3, 7, 9)(3)).toBe(7);
});

it('parts columns evenly', () => {
  expect(band(0, 10, 0, 100)).toEqual({ x: 1, width: 8, step: 10, from: 0 });
  expect(band(9, 10, 0, 100).x).toBe(91);
  expect(band(0, 1, 0, 500).width).toBe(48);
});

it('writes labels that do not touch, always the last', () => {
  const shown = everyNth(30, 6);
  expect(Array.from({ length: 30 }, (_, at) => at).filter(shown)).toEqual([4, 9, 14, 19, 24, 29]);
});

it('stacks layers', () => {
  const [low, high] = stack([{ id: 'a', values: [1, 2] }, { id: 'b', values: [3, 0] }]);
  expect(low?.spans).toEqual([[0, 1], [0, 2]]);
  expect(high?.spans).toEqual([[1, 4], [2, 2]]);
});

it('draws lines', () => {
  expect(line([[0, 1], [2, 3]])).toBe('M0 1L2 3');
});
