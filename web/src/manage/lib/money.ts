/** Money: exact integer nano-dollars. JSON numbers end being exact at 2^53, so larger ones come as
 * strings (see `readJson`); sums are reckoned in BigInt. */

export type Nano = number | string | bigint;

const PER_DOLLAR = 1_000_000_000n;
const PER_CENT = 10_000_000n;

/** An amount as an integer. Fractions cannot be: the server sends integers. */
export function nano(amount: Nano): bigint {
  return BigInt(amount);
}

export function sum(amounts: Iterable<Nano>): bigint {
  let total = 0n;
  for (const amount of amounts) total += nano(amount);
  return total;
}

/** Near enough for a plot: never for a sum. */
export function plotted(amount: Nano): number {
  return Number(nano(amount));
}

function grouped(whole: bigint): string {
  return whole.toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Every digit there is: at least two decimals, at most nine. */
export function exact(amount: Nano): string {
  const value = nano(amount);
  const size = value < 0n ? -value : value;
  const decimals = (size % PER_DOLLAR).toString().padStart(9, '0').replace(/0{1,7}$/, '');
  return `${value < 0n ? '−' : ''}$${grouped(size / PER_DOLLAR)}.${decimals}`;
}

/** As people read it: cents from a cent on, below that the first two figures. */
export function money(amount: Nano): string {
  const value = nano(amount);
  const size = value < 0n ? -value : value;
  if (size === 0n) return '$0';
  const sign = value < 0n ? '−' : '';
  if (size < PER_CENT) return sign + exact(firstTwo(size));
  const cents = (size + PER_CENT / 2n) / PER_CENT;
  return `${sign}$${grouped(cents / 100n)}.${(cents % 100n).toString().padStart(2, '0')}`;
}

function firstTwo(size: bigint): bigint {
  const unit = 10n ** BigInt(Math.max(0, size.toString().length - 2));
  return ((size + unit / 2n) / unit) * unit;
}

/** A step of an axis: as short as its digits allow. */
export function tick(amount: number): string {
  if (amount === 0) return '$0';
  const dollars = amount / 1e9;
  if (dollars >= 1e6) return `$${trimmed(dollars / 1e6)}M`;
  if (dollars >= 1e4) return `$${trimmed(dollars / 1e3)}k`;
  return `$${trimmed(dollars)}`;
}

function trimmed(value: number): string {
  const text = value.toFixed(9).replace(/\.?0+$/, '');
  return text.replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ',');
}

/** "12.5" dollars as nano-dollars; null if it is no amount of at most nine decimals. */
export function parse(text: string): bigint | null {
  const found = /^\s*\$?(\d{1,9})(?:[.,](\d{1,9}))?\s*$/.exec(text);
  if (!found) return null;
  return BigInt(found[1] ?? '0') * PER_DOLLAR + BigInt((found[2] ?? '').padEnd(9, '0'));
}

/** `part` of `whole` in percent, for reading and for bars; 0 where there is no whole. */
export function percent(part: Nano, whole: Nano): number {
  const all = nano(whole);
  return all === 0n ? 0 : Number((nano(part) * 10_000n) / all) / 100;
}

/** JSON with the money in it exact: amounts too large for a number become strings. */
export function readJson<T>(text: string): T {
  return JSON.parse(text.replace(/("[a-z_]*_nano":\s*)(-?\d{16,})/g, '$1"$2"')) as T;
}
