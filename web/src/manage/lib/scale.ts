/** Scales of plots: from figures to places, with steps that people count in. */

/** Round steps from 0 to at least `top`, about `count` of them. */
export function ticks(top: number, count = 4): number[] {
  if (!(top > 0)) return [0, 1];
  const raw = top / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5].find((factor) => factor * unit >= raw * 0.999_999) ?? 10) * unit;
  const steps = Math.ceil(top / step - 1e-9);
  return Array.from({ length: steps + 1 }, (_, at) => at * step);
}

/** The line through (`from`, `start`) and (`to`, `end`). */
export function linear(from: number, to: number, start: number, end: number) {
  const slope = to === from ? 0 : (end - start) / (to - from);
  return (value: number): number => Math.round((start + (value - from) * slope) * 100) / 100;
}

/** A column's place: its left edge and width, with gaps of a fifth between columns. */
export function band(index: number, count: number, start: number, end: number) {
  const step = (end - start) / Math.max(1, count);
  const width = Math.max(1, Math.min(step * 0.8, 48));
  return { x: start + step * index + (step - width) / 2, width, step, from: start + step * index };
}

/** Which of `count` labels to write so that they do not touch: every n-th, the last among them. */
export function everyNth(count: number, fitting: number): (index: number) => boolean {
  const stride = Math.max(1, Math.ceil(count / Math.max(1, fitting)));
  return (index) => (count - 1 - index) % stride === 0;
}

export interface Layer {
  id: string;
  /** One value for each column. */
  values: number[];
}

/** Layers on top of each other: for each layer and column where it begins and ends. */
export function stack(layers: readonly Layer[]): { id: string; spans: [number, number][] }[] {
  const tops: number[] = [];
  return layers.map(({ id, values }) => ({
    id,
    spans: values.map((value, at): [number, number] => {
      const from = tops[at] ?? 0;
      tops[at] = from + Math.max(0, value);
      return [from, tops[at]];
    }),
  }));
}

/** A path through points. */
export function line(points: readonly (readonly [number, number])[]): string {
  return points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${x} ${y}`).join('');
}
