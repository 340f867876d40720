/** From the rows of a report to the layers of a plot. */

import { plotted, type Nano } from './money';
import { toMs } from './time';
import type { DayPoint } from './types';

export interface Layer { id: string; name: string; series: string; values: number[] }

export const OTHER = 'other';
const SERIES_MAX = 8;

export type Measure = 'price_nano' | 'cost_nano' | 'calls';

/** A layer for each id, the largest lowest, the rest on top; a value for each day. */
export function layers(
  points: readonly DayPoint[], days: readonly number[], measure: Measure,
  name: (id: string) => string,
): Layer[] {
  const at = new Map(days.map((day, index) => [day, index]));
  const found = new Map<string, number[]>();
  for (const point of points) {
    const index = at.get(toMs(point.day_ns));
    if (index === undefined) continue;
    const values = found.get(point.id) ?? days.map(() => 0);
    values[index] = (values[index] ?? 0) + value(point[measure]);
    found.set(point.id, values);
  }
  const total = (values: number[]) => values.reduce((all, one) => all + one, 0);
  const ranked = [...found].sort(([a, left], [b, right]) =>
    Number(a === OTHER) - Number(b === OTHER) || total(right) - total(left),
  );
  return ranked.map(([id, values], rank) => ({ id, name: name(id), series: series(id, rank), values }));
}

const value = (amount: Nano | number): number => plotted(amount);

/** The colour of a rank. */
export function series(id: string, rank: number): string {
  return id === OTHER || rank >= SERIES_MAX ? 's-rest' : `s-${rank + 1}`;
}
