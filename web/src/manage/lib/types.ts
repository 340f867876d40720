/** What the admin routes carry. Money is nano-dollars, times are UTC nanoseconds. */

import type { Nano } from './money';

export type Role = 'owner' | 'admin' | 'member' | 'viewer';
export const ROLES: readonly Role[] = ['owner', 'admin', 'member', 'viewer'];

export interface Me {
  account: {
    id: string; name: string; email: string | null; role: Role; team_id: string | null;
    has_password: boolean; has_oidc: boolean;
  };
  organisation: { id: string; name: string };
}

export interface Account {
  id: string; kind: 'person' | 'service'; role: Role; name: string; email: string | null;
  team_id: string | null; created_ns: number; closed_ns: number | null;
}

export interface Team { id: string; name: string; created_ns: number; members: number }

/** What a key may be used for; an empty list means everything. */
export interface Scopes { models: string[]; routes: string[]; purposes: string[] }
export const ROUTES = [
  'chat', 'responses', 'messages', 'embeddings', 'moderations', 'files', 'batches', 'models',
  'count_tokens', 'outcomes',
] as const;

export interface Key {
  id: string; name: string; purpose: string; account_id: string; last4: string;
  created_ns: number; expires_ns: number | null; revoked_ns: number | null;
  last_used_ns: number | null; scopes: Scopes | null; former_until_ns: number | null;
}

export const SIDES = ['organisation', 'team', 'account', 'key'] as const;
export type NodeKind = (typeof SIDES)[number];
export const PERIODS = ['hour', 'day', 'month', 'once'] as const;
export type Period = (typeof PERIODS)[number];

export interface Budget {
  id: string; node_kind: NodeKind; node_id: string; period: Period; limit_nano: Nano;
  hard: boolean; warn_percent: number[]; webhook_url: string | null; created_ns: number;
  window_start_ns: number; window_end_ns: number | null; spent_nano: Nano; held_nano: Nano;
}

export const LIMIT_KINDS = ['requests', 'input_tokens', 'output_tokens', 'concurrent'] as const;
export interface Limit {
  node_kind: NodeKind; node_id: string; kind: (typeof LIMIT_KINDS)[number];
  period: 'minute' | 'day' | 'now'; maximum: number; used: number;
}

export interface Running {
  id: string; account_id: string; key_id: string; model_id: string; purpose: string;
  started_ns: number;
}

export interface Traffic {
  running: Running[]; recent: Receipt[];
  rates: {
    span_s: number; calls_per_minute: number; failed_per_minute: number;
    input_tokens_per_s: number; output_tokens_per_s: number; running_here: number;
    waiting_here: number;
  };
}

export interface Target {
  id: string; upstream: string | null; machine: string | null; fallback: boolean; healthy: boolean;
  rest_s: number | null; running: number; waiting: number; places: number | null;
  loaded: boolean | null;
}

export interface ServedModel {
  id: string; display_name: string; context_tokens: number | null; targets: Target[];
}

export interface Price {
  id: string; side: 'price' | 'cost'; target: string; rates: Record<string, unknown>;
  origin: string; effective_ns: number; created_ns: number; current: boolean;
}

export interface Machine {
  name: string; terms: Record<string, unknown> | null; effective_ns: number | null;
  measured: { energy: 'rapl' | 'nvml' | 'rapl+nvml' | 'estimated' | null };
}

export interface Asset {
  release_digest: string; cost_nano: Nano; planned_tokens: number; created_ns: number;
}

export interface Usage { input: number; cached: number; output: number; reasoning: number }

/** A line of the books; debits are positive. */
export type Entry = readonly [account: string, amountNano: number];

/** A transaction about a call after it, such as a refund. */
export interface Posting {
  id: string; kind: string; time_ns: number; actor_id: string | null; entries: Entry[];
  detail: unknown;
}

export interface ReceiptView { receipt: Receipt; postings: Posting[]; entries: Entry[] | null }

export interface Receipt {
  id: string; account_id: string; key_id: string; team_id: string | null; purpose: string;
  model_id: string; release_digest: string; engine: string; dialect: string; worker: string;
  started_ns: number; conversation_id: string | null; tier: string | null;
  price_id: string | null; held_nano: Nano; usage: Usage | null; price_nano: Nano;
  loss_nano: Nano; saved_nano: Nano; cost_nano: Nano | null; estimated: boolean; images: number;
  machine_ns: number; unbilled_tokens: number; first_token_ms: number | null;
  duration_ms: number | null; stop: string | null; error_kind: string | null;
}

export const GROUPINGS = [
  'model', 'team', 'account', 'key', 'purpose', 'conversation', 'release', 'day',
] as const;
export type Grouping = (typeof GROUPINGS)[number];

export interface Sums {
  calls: number; failed: number; input_tokens: number; cached_tokens: number;
  output_tokens: number; reasoning_tokens: number; price_nano: Nano; cost_nano: Nano;
  loss_nano: Nano; saved_nano: Nano; machine_ns: number;
}

export interface SpendRow extends Sums {
  id: string; name: string;
  /** Where its calls are listed, as a path of the API. */
  receipts: string;
}

export interface DayPoint {
  day_ns: number; id: string; price_nano: Nano; cost_nano: Nano; calls: number;
}

export interface Spend {
  by: Grouping; from_ns: number; to_ns: number; step: 'day' | 'month'; rows: SpendRow[];
  totals: Sums;
  series: DayPoint[];
}

export interface AuditEvent {
  id: string; time_ns: number; actor_id: string; actor: string; action: string; did: string;
  object_id: string; object: string; told: string;
}

export interface Balance { name: string; amount_nano: Nano; entries: number }

export interface SignInMethods { password: boolean; oidc: { name: string } | null }

/** The reports of the economics, as serving/openapi/reports.py describes them. */

export interface MarginRow {
  id: string; name: string; calls: number; price_nano: Nano; cost_nano: Nano; loss_nano: Nano;
  margin_nano: Nano; margin_bp: number | null; receipts: string;
}
export interface Margin {
  models: MarginRow[]; teams: MarginRow[]; accounts: MarginRow[]; total: MarginRow;
  idle_nano: Nano; after_idle_nano: Nano;
}

export interface ModelUnit {
  model_id: string; calls: number; tokens: number; price_nano: Nano; cost_nano: Nano;
  price_per_thousand_nano: Nano | null; cost_per_thousand_nano: Nano | null; receipts: string;
}
export interface ChangeUnit {
  model_id: string; accepted: number; calls: number; price_nano: Nano; cost_nano: Nano;
  price_per_change_nano: Nano | null; cost_per_change_nano: Nano | null; receipts: string;
}
export interface Units { models: ModelUnit[]; changes: ChangeUnit[]; all_changes: ChangeUnit }

export interface PaybackRow {
  release_digest: string; name: string; cost_nano: Nano; planned_tokens: number;
  served_tokens: number; earned_nano: Nano; left_nano: Nano;
  left_per_million_tokens_nano: Nano | null; per_day_nano: Nano; days_left: number | null;
  receipts: string;
}
export interface Payback { rows: PaybackRow[] }

export interface BurnRate {
  days: number; price_nano: Nano; cost_nano: Nano; price_per_day_nano: Nano;
  cost_per_day_nano: Nano; receipts: string;
}
export interface BudgetBurn {
  id: string; node_kind: NodeKind; node_id: string; name: string; period: Period; hard: boolean;
  limit_nano: Nano; spent_nano: Nano; spent_percent: number; window_start_ns: number;
  window_end_ns: number | null; per_day_nano: Nano; spent_at_ns: number | null; receipts: string;
}
export interface Burn { now_ns: number; rates: BurnRate[]; budgets: BudgetBurn[] }

export interface BreakevenRow {
  machine: string; model_id: string; provider: string; calls: number; tokens_per_s: number | null;
  machine_per_day_nano: Nano; tokens_per_day: number; own_per_million_nano: Nano | null;
  provider_per_million_nano: Nano; breakeven_tokens_per_day: number | null;
  breakeven_bp: number | null; receipts: string;
}
export interface Breakeven { rows: BreakevenRow[] }

export interface CacheRow {
  model_id: string; calls: number; input_tokens: number; cached_tokens: number;
  cached_bp: number | null; price_nano: Nano; saved_nano: Nano; receipts: string;
}
export interface Cache {
  step: 'day' | 'month'; rows: CacheRow[]; total: CacheRow;
  series: { day_ns: number; input_tokens: number; cached_tokens: number; saved_nano: Nano }[];
}

export interface MachineRow {
  name: string; up_ns: number; busy_ns: number; idle_ns: number; used_bp: number | null;
  energy_mj: number; estimated_mj: number; cost_nano: Nano; idle_nano: Nano;
}
export interface MachineReport {
  rows: MachineRow[];
  series: { day_ns: number; name: string; up_ns: number; busy_ns: number; cost_nano: Nano; idle_nano: Nano }[];
}
