import { describe, expect, it } from 'vitest';
import { readRoute, routePath } from '../lib/route';
import type { Conversation } from '../lib/types';
import { waitMs } from './follow';
import { mergeConversations } from './list.svelte';

const conversation = (id: string, updated_ms: number, title = id): Conversation => ({
  id, title, model: 'm', created_ms: 0, updated_ms, running: false,
});

it('reads and writes routes', () => {
  const route = { name: 'chat', id: '01234567-89ab-7def-8123-456789abcdef' } as const;
  expect(readRoute(routePath(route))).toEqual(route);
  expect(readRoute('/')).toEqual({ name: 'new' });
  expect(readRoute('/c/../etc')).toEqual({ name: 'new' });
});

it('waits longer from attempt to attempt, but never beyond ten seconds', () => {
  expect([0, 1, 2, 3].map((attempt) => waitMs(attempt, 1))).toEqual([250, 500, 1000, 2000]);
  expect(waitMs(50, 1)).toBe(10_000);
  expect(waitMs(2, 0)).toBe(500);
});

describe('mergeConversations', () => {
  it('keeps each once, newest first, the fresh one winning', () => {
    const held = [conversation('a', 3), conversation('b', 2)];
    const merged = mergeConversations(held, [conversation('b', 5, 'new'), conversation('c', 1)]);
    expect(merged.map((item) => [item.id, item.title])).toEqual([['b', 'new'], ['a', 'a'], ['c', 'c']]);
  });
});
