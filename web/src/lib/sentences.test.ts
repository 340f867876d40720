import { describe, expect, it } from 'vitest';
import { lastSentenceEnd, spoken } from './sentences';

describe('lastSentenceEnd', () => {
  it('waits for the end of a sentence', () => {
    expect(lastSentenceEnd('Water runs', 0)).toBe(0);
    expect(lastSentenceEnd('Water runs. It ', 0)).toBe(11);
    expect(lastSentenceEnd('Pi is 3.14 or', 0)).toBe(0);
  });

  it('goes on from where it stopped', () => {
    expect(lastSentenceEnd('One. Two. Thr', 4)).toBe(9);
    expect(lastSentenceEnd('One. Two', 4)).toBe(4);
  });

  it('takes blank lines and CJK stops as ends', () => {
    expect(lastSentenceEnd('Heading\n\n', 0)).toBe(9);
    expect(lastSentenceEnd('水が流れる。次', 0)).toBe(6);
  });
});

describe('spoken', () => {
  it('drops marks and names code', () => {
    expect(spoken('## The **wheel**\n\n- see [docs](https://x.example)\n')).toBe('The wheel see docs');
    expect(spoken('Run:\n```py\nprint(1)\n```\nDone.')).toBe('Run: (code) Done.');
    expect(spoken('| a | b |\n|---|---|\n| 1 | 2 |')).toBe('a b 1 2');
  });
});
