/** Who is signed in, and the names of accounts, teams and keys. */

import { ApiError, failureFrom } from '../../lib/api';
import type { Failure } from '../../lib/types';
import { admin } from '../lib/admin';
import { changes, oversees } from '../lib/place';
import type { Account, Key, Me, NodeKind, Team } from '../lib/types';
import { words } from '../text';

class Session {
  phase = $state<'loading' | 'ready' | 'failed'>('loading');
  failure = $state.raw<Failure | null>(null);
  me = $state.raw<Me | null>(null);
  accounts = $state.raw<Account[]>([]);
  teams = $state.raw<Team[]>([]);
  keys = $state.raw<Key[]>([]);
  #names = $derived(
    new Map(
      [...this.accounts, ...this.teams, ...this.keys].map((one) => [one.id, one.name] as const),
    ),
  );

  get role() {
    return this.me?.account.role ?? 'member';
  }

  get oversees(): boolean {
    return oversees(this.role);
  }

  /** Whether the forms are shown; the server decides. */
  get changes(): boolean {
    return changes(this.role);
  }

  start = async (): Promise<void> => {
    this.phase = 'loading';
    try {
      this.me = await admin.me();
      await this.readNames();
      this.phase = 'ready';
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return this.signedOut();
      this.failure = failureFrom(error);
      this.phase = 'failed';
    }
  };

  /** A member has no list of people; their own name does. */
  readNames = async (): Promise<void> => {
    const [accounts, teams, keys] = await Promise.all([
      this.oversees ? admin.accounts().then((read) => read.accounts) : [],
      this.oversees ? admin.teams().then((read) => read.teams) : [],
      admin.keys().then((read) => read.keys),
    ]);
    Object.assign(this, { accounts, teams, keys });
  };

  name(id: string | null | undefined): string {
    if (!id) return words.none;
    if (id === this.me?.organisation.id) return this.me.organisation.name;
    if (id === this.me?.account.id) return this.me.account.name;
    return this.#names.get(id) || words.nameless(id);
  }

  /** What can stand under a budget, a limit or a filter of this kind. */
  nodes(kind: NodeKind): { id: string; name: string }[] {
    if (kind === 'organisation') return this.me ? [this.me.organisation] : [];
    if (kind === 'team') return this.teams;
    if (kind === 'key') return this.keys.filter((key) => key.revoked_ns === null);
    return this.accounts.filter((account) => account.closed_ns === null);
  }

  signedOut(): void {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
}

export const session = new Session();
