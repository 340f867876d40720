/** Counts as people read them. */

/** 12345 → "12,345". */
export const count = (value: number): string => value.toLocaleString('en-US');

const UNITS = [[1e12, 'T'], [1e9, 'B'], [1e6, 'M'], [1e3, 'k']] as const;

/** 1234567 → "1.23M"; whole below ten thousand. */
export function short(value: number): string {
  if (value < 10_000) return count(Math.round(value * 100) / 100);
  const [size, unit] = UNITS.find(([size]) => value >= size) ?? [1, ''];
  const scaled = value / size;
  return `${scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0).replace(/\.0+$/, '')}${unit}`;
}

/** So many a second or a minute: one decimal where it says something. */
export const rate = (value: number): string =>
  value < 100 ? String(Math.round(value * 10) / 10) : short(Math.round(value));

/** Percent with one decimal, without it where it says nothing. */
export const percentage = (value: number): string =>
  `${value.toFixed(1).replace(/\.0$/, '')} %`.replace(/^-/, '−');
