/** The curves of the economics: how a budget goes, and from which volume on a machine pays. */

import { plotted } from './money';
import { DAY_MS, daysOf, startOfDay, toMs } from './time';
import type { BreakevenRow, BudgetBurn, SpendRow } from './types';

const DAYS_MAX = 92;

export interface Course {
  /** Beginnings of days, in milliseconds. */
  xs: number[];
  /** What was spent by the end of each day so far, and how it goes on. */
  spent: (number | null)[];
  ahead: (number | null)[];
}

/** A budget's window day by day: what was spent, then the present rate until its end. */
export function course(budget: BudgetBurn, days: readonly SpendRow[], nowMs: number): Course | null {
  if (budget.period === 'hour') return null;
  const today = startOfDay(nowMs);
  const start = Math.max(startOfDay(toMs(budget.window_start_ns)), today - DAYS_MAX * DAY_MS);
  const left = budget.spent_at_ns === null ? 30 * DAY_MS : toMs(budget.spent_at_ns) - nowMs;
  const open = today + Math.min(DAYS_MAX * DAY_MS, Math.max(7 * DAY_MS, left + DAY_MS));
  const end = budget.window_end_ns === null ? open : toMs(budget.window_end_ns);
  const xs = daysOf({ fromMs: start, toMs: Math.max(end, today + DAY_MS) });
  if (xs.length < 2) return null;
  const charged = new Map(days.map((row) => [Date.parse(row.id), plotted(row.price_nano)]));
  const now = plotted(budget.spent_nano);
  // What was spent before the days that are shown is where the line begins.
  let sum = now - xs.reduce((all, day) => all + (day <= today ? (charged.get(day) ?? 0) : 0), 0);
  sum = Math.max(0, sum);
  const spent = xs.map((day) => {
    sum += charged.get(day) ?? 0;
    return day > today ? null : day === today ? now : Math.min(sum, now);
  });
  const rate = plotted(budget.per_day_nano);
  const ahead = xs.map((day) => (day < today ? null : now + (rate * (day - today)) / DAY_MS));
  return { xs, spent, ahead };
}

export interface Volumes {
  /** Tokens a day. */
  xs: number[];
  /** Nano-dollars a month of thirty days. */
  own: number[];
  provider: number[];
}

const MONTH_DAYS = 30;
const STEPS = 40;
const S_PER_DAY = 86_400;

/** What a month costs at each volume: machines, as many as it takes, against a provider. */
export function volumes(row: BreakevenRow): Volumes {
  const whole = (row.tokens_per_s ?? 0) * S_PER_DAY;
  const wanted = Math.max((row.breakeven_tokens_per_day ?? whole) * 2, row.tokens_per_day * 1.25, 1000);
  const xs = Array.from({ length: STEPS + 1 }, (_, at) => (wanted * at) / STEPS);
  const machine = plotted(row.machine_per_day_nano) * MONTH_DAYS;
  const perToken = plotted(row.provider_per_million_nano) / 1e6;
  return {
    xs,
    own: xs.map((volume) => machine * (whole > 0 ? Math.max(1, Math.ceil(volume / whole)) : 1)),
    provider: xs.map((volume) => volume * perToken * MONTH_DAYS),
  };
}
