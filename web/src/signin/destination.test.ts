import { expect, it } from 'vitest';
import { destination } from './destination';

it('stays on this server', () => {
  expect(destination('/manage/spend?by=team&from=2026-11-01')).toBe('/manage/spend?by=team&from=2026-11-01');
  const foreign = ['//evil.example', '/\\evil.example', 'https://evil.example', 'javascript:alert(1)', '/sign-in', '', null];
  expect(foreign.map(destination)).toEqual(foreign.map(() => '/'));
});
