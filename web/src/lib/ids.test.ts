import { expect, it } from 'vitest';
import { newId } from './ids';

it('makes canonical UUIDv7 that rise strictly, also when the clock is set back', () => {
  const ids = Array.from({ length: 5000 }, (_, at) => newId(1_700_000_000_000 - (at % 3)));
  for (const id of ids) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

it('carries its time', () => {
  const ms = 4_000_000_000_000;
  expect(parseInt(newId(ms).replaceAll('-', '').slice(0, 12), 16)).toBe(ms);
});
