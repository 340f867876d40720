// @vitest-environment jsdom
import { beforeEach, describe, expect, it } from 'vitest';
import { CORPUS } from './corpus';
import { safeNodes } from './safe';
import { MarkdownView } from './view';

function html(nodes: DocumentFragment): string {
  const host = document.createElement('div');
  host.append(nodes);
  return host.innerHTML;
}

let host: HTMLElement;
beforeEach(() => {
  host = document.createElement('div');
});

describe('MarkdownView', () => {
  it.each(Object.entries(CORPUS))('shows %s the same streamed and at once', (_name, text) => {
    const view = new MarkdownView(host);
    for (let end = 0; end <= text.length; end += 3) view.show(text.slice(0, end), false);
    view.show(text, true);
    const other = document.createElement('div');
    new MarkdownView(other).show(text, true);
    expect(host.innerHTML).toBe(other.innerHTML);
  });

  it.each(Object.entries(CORPUS))('shows %s at every moment as if drawn anew', (_name, text) => {
    if (/\]:/.test(text)) return; // a later definition changes what is above it
    const view = new MarkdownView(host);
    for (let end = 0; end <= text.length; end += 1) {
      view.show(text.slice(0, end), false);
      const other = document.createElement('div');
      new MarkdownView(other).show(text.slice(0, end), false);
      expect(host.innerHTML).toBe(other.innerHTML);
    }
  });

  it('keeps the nodes of finished blocks, and those of the tail that did not change', () => {
    const view = new MarkdownView(host);
    view.show('One.\n\nTwo', false);
    const [one, two] = host.querySelectorAll('p');
    view.show('One.\n\nTwo is *longer*', false);
    view.show('One.\n\nTwo is *longer*\n\nThree', false);
    view.show('One.\n\nTwo is *longer*\n\nThree\n\nFour', true);
    expect(host.querySelectorAll('p')[0]).toBe(one);
    expect(host.querySelectorAll('p')[1]).toBe(two);
  });

  it('starts anew when the text is another one', () => {
    const view = new MarkdownView(host);
    view.show('Old text', true);
    view.show('New', false);
    expect(host.textContent?.trim()).toBe('New');
  });
});

describe('safeNodes', () => {
  it('lets nothing run, whatever reaches it', () => {
    const hostile = [
      '<img src=x onerror=alert(1)>', '<svg onload=alert(1)>', '<script>alert(1)</script>',
      '<a href="javascript:alert(1)">x</a>', '<a href=" java\tscript:alert(1)">x</a>',
      '<iframe src="https://evil.example"></iframe>', '<form action=/x><input name=a></form>',
      '<style>*{display:none}</style>', '<p style="position:fixed" onclick="x()">a</p>',
      '</div><script>alert(1)</script>', '<math><mi xlink:href="javascript:x">', '<base href=//e>',
      '<p id="app" data-copy="x" aria-label="y">a</p>', '<object data=x></object><embed src=x>',
    ];
    for (const attack of hostile) {
      const safe = html(safeNodes(attack));
      expect(safe).not.toMatch(/<(?!\/?(?:a|p|span)\b)|\son\w+=|style=|javascript:|\sid=|data-/i);
    }
  });

  it('never shows a picture of another host, but a link to it', () => {
    const safe = html(safeNodes('<p><img src="https://evil.example/t.png" alt="a cat"></p>'));
    expect(safe).not.toContain('<img');
    expect(safe).toContain('href="https://evil.example/t.png"');
    expect(safe).toContain('a cat<span class="link-host"> (evil.example)</span>');
  });

  it('guards links and shows where they lead', () => {
    const safe = html(safeNodes('<a href="https://x.example/a">docs</a>'));
    expect(safe).toContain('rel="noopener noreferrer nofollow"');
    expect(safe).toContain('target="_blank"');
    expect(safe).toContain('(x.example)');
  });

  it('takes the way out of links into ourselves and of unknown schemes', () => {
    for (const href of ['/chat/sign-out', '//x', 'data:text/html,x', 'vbscript:x', '#a', 'https://']) {
      expect(html(safeNodes(`<a href="${href}">x</a>`))).toBe('<a>x</a>');
    }
  });
});
