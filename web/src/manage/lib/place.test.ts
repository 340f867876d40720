import { expect, it } from 'vitest';
import { navigation, path, readPlace } from './place';

it('reads and writes places', () => {
  expect(readPlace('/manage')).toEqual({ page: 'spend', id: null });
  expect(readPlace(path('receipts', 'a/b'))).toEqual({ page: 'receipts', id: 'a/b' });
  expect(readPlace('/manage/nowhere').page).toBeNull();
  expect(readPlace('/manage/receipts/%E0%A4%A').id).toBe('%E0%A4%A');
});

it('shows a role what it may see', () => {
  const pages = (role: 'member' | 'viewer') =>
    navigation(role).flatMap(({ views }) => views.map(({ page }) => page));
  expect(pages('member')).toEqual(['spend', 'receipts', 'account']);
  expect(pages('viewer')).toHaveLength(12);
});
