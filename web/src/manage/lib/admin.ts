/** The typed client of the admin routes. */

import { ask as askAny, type Method } from '../../lib/api';
import { readJson } from './money';
import type {
  Account, Asset, AuditEvent, Balance, Budget, Key, Limit, Machine, Me, Price, Receipt, ReceiptView,
  Scopes,
  ServedModel, Spend, Team, Traffic,
} from './types';

const ask = <T>(method: Method, path: string, body?: unknown) =>
  askAny<T>(method, `/admin/${path}`, body, readJson<T>);

export type Filters = Record<string, string | number | null | undefined>;

/** A query string of what is set. */
export function query(values: Filters): string {
  const set = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

const one = (list: string, id: string) => `${list}/${encodeURIComponent(id)}`;

export const admin = {
  me: () => ask<Me>('GET', 'me'),
  setPassword: (current: string | null, wanted: string) =>
    ask<null>('PUT', 'me/password', current === null ? { new: wanted } : { current, new: wanted }),

  accounts: () => ask<{ accounts: Account[] }>('GET', 'accounts'),
  addAccount: (made: {
    kind: 'person' | 'service'; name: string; email?: string; role: string; team_id?: string;
  }) => ask<{ account: Account; invite_path: string | null }>('POST', 'accounts', made),
  changeAccount: (id: string, change: object) => ask<unknown>('PATCH', one('accounts', id), change),
  closeAccount: (id: string) => ask<null>('DELETE', one('accounts', id)),
  invite: (id: string) => ask<{ path: string }>('POST', `${one('accounts', id)}/invite`),
  erase: (id: string) => ask<null>('POST', `${one('accounts', id)}/erase`),

  teams: () => ask<{ teams: Team[] }>('GET', 'teams'),
  addTeam: (name: string) => ask<unknown>('POST', 'teams', { name }),
  renameTeam: (id: string, name: string) => ask<unknown>('PATCH', one('teams', id), { name }),
  removeTeam: (id: string) => ask<null>('DELETE', one('teams', id)),

  keys: () => ask<{ keys: Key[] }>('GET', 'keys'),
  addKey: (made: {
    name: string; purpose?: string; expires_days?: number; account_id?: string; scopes?: Scopes;
  }) => ask<{ id: string; secret: string }>('POST', 'keys', made),
  rotateKey: (id: string, graceS: number) =>
    ask<{ id: string; secret: string }>('POST', `${one('keys', id)}/rotate`, { grace_s: graceS }),
  revokeKey: (id: string) => ask<null>('DELETE', one('keys', id)),

  budgets: () => ask<{ budgets: Budget[] }>('GET', 'budgets'),
  addBudget: (made: object) => ask<unknown>('POST', 'budgets', made),
  changeBudget: (id: string, change: object) => ask<unknown>('PATCH', one('budgets', id), change),
  endBudget: (id: string) => ask<null>('DELETE', one('budgets', id)),
  /** `id` makes repeating safe: a second refund of it is the first one. */
  refund: (id: string, generation: string, amount: number | null, reason: string) =>
    ask<unknown>('POST', 'refunds', { id, generation_id: generation, amount_nano: amount, reason }),

  limits: () => ask<{ limits: Limit[] }>('GET', 'limits'),
  setLimit: (limit: object) => ask<unknown>('PUT', 'limits', limit),
  dropLimit: (limit: Limit) =>
    ask<null>('DELETE', `${one('limits', limit.node_id)}/${limit.kind}/${limit.period}`),

  traffic: () => ask<Traffic>('GET', 'traffic'),
  models: () => ask<{ models: ServedModel[] }>('GET', 'models'),

  prices: () => ask<{ prices: Price[]; unpriced: string[] }>('GET', 'prices'),
  setPrice: (price: object) => ask<unknown>('POST', 'prices', price),
  machines: () => ask<{ machines: Machine[] }>('GET', 'machines'),
  setMachine: (machine: object) => ask<unknown>('POST', 'machines', machine),
  assets: () => ask<{ assets: Asset[] }>('GET', 'assets'),
  addAsset: (asset: object) => ask<unknown>('POST', 'assets', asset),

  // Filters come as query strings: those that are equal are not asked for again.
  spend: (asked: string) => ask<Spend>('GET', `reports/spend${asked}`),
  report: <T>(name: string, asked = '') => ask<T>('GET', `reports/${name}${asked}`),
  receipts: (asked: string) =>
    ask<{ receipts: Receipt[]; next: string | null }>('GET', `receipts${asked}`),
  receipt: (id: string) => ask<ReceiptView>('GET', one('receipts', id)),
  audit: (before: string | null) =>
    ask<{ events: AuditEvent[]; next: string | null }>('GET', `audit${query({ before, limit: 100 })}`),
  balances: () => ask<{ balances: Balance[] }>('GET', 'balances'),
};
