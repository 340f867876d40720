/** The views of the ledger: their paths, and who may see them. */

import type { Role } from './types';

export type Page =
  | 'spend' | 'economics' | 'receipts' | 'models' | 'traffic' | 'budgets' | 'keys' | 'prices'
  | 'accounts' | 'balances' | 'audit' | 'account';

interface View {
  page: Page;
  /** Whether a member sees it too, narrowed to what is theirs. */
  member: boolean;
}

const view = (page: Page, member = false): View => ({ page, member });

/** The navigation, in groups. */
export const GROUPS: { group: 'money' | 'running' | 'rules' | 'books' | 'mine'; views: View[] }[] = [
  { group: 'money', views: [view('spend', true), view('economics'), view('receipts', true)] },
  { group: 'running', views: [view('traffic'), view('models')] },
  { group: 'rules', views: [view('budgets'), view('prices'), view('keys'), view('accounts')] },
  { group: 'books', views: [view('balances'), view('audit')] },
  { group: 'mine', views: [view('account', true)] },
];

export const oversees = (role: Role): boolean => role !== 'member';
export const changes = (role: Role): boolean => role === 'owner' || role === 'admin';

/** The groups of views that a role may see. */
export function navigation(role: Role): typeof GROUPS {
  return GROUPS.map(({ group, views }) => ({
    group, views: views.filter((one) => one.member || oversees(role)),
  })).filter(({ views }) => views.length > 0);
}

export interface Place {
  page: Page | null;
  /** What the path names on the page, such as a receipt. */
  id: string | null;
}

/** Reads /manage/PAGE/ID; the first view where no page is named, null where it is unknown. */
export function readPlace(path: string): Place {
  const [page = '', id = ''] = path.replace(/^\/manage\/?/, '').split('/');
  if (page === '') return { page: 'spend', id: null };
  const known = GROUPS.flatMap((group) => group.views).find((one) => one.page === page);
  return { page: known?.page ?? null, id: id === '' ? null : safely(id) };
}

function safely(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const path = (page: Page, id?: string): string =>
  `/manage/${page}${id === undefined ? '' : `/${encodeURIComponent(id)}`}`;
