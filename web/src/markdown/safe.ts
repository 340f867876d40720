/**
 * From rendered markdown to nodes that are safe to show.
 *
 * Three lines of defence: the parser lets no HTML through, DOMPurify takes out what is left, and
 * the content policy of the page forbids the rest. All happens in an inert document, so that
 * nothing is loaded before it was judged.
 */

import DOMPurify, { type Config } from 'dompurify';
import { hostOf, linkOf } from './links';

const POLICY: Config = {
  IN_PLACE: true,
  ALLOWED_TAGS: [
    'a', 'blockquote', 'br', 'code', 'del', 'div', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr',
    'img', 'li', 'ol', 'p', 'pre', 's', 'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead',
    'tr', 'ul',
  ],
  ALLOWED_ATTR: ['href', 'title', 'src', 'alt', 'class', 'start'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

/** Set once: given with each call, the policy would be read anew each time. */
const purify = DOMPurify(window);
purify.setConfig(POLICY);

/** Turns HTML of the parser into nodes for the page. */
export function safeNodes(html: string): DocumentFragment {
  const fragment = document.createDocumentFragment();
  if (html === '') return fragment;
  const inert = new DOMParser().parseFromString(`<body><div>${html}</div></body>`, 'text/html');
  const root = inert.body.firstElementChild as HTMLElement;
  purify.sanitize(root, POLICY);
  root.querySelectorAll('img').forEach(imageToLink);
  root.querySelectorAll('a').forEach(guardLink);
  root.querySelectorAll('pre').forEach(frameCode);
  root.querySelectorAll('table').forEach(frameTable);
  fragment.append(...root.childNodes);
  return fragment;
}

/** Pictures of other hosts are never loaded by themselves: the request alone would tell. */
function imageToLink(image: HTMLImageElement): void {
  const owner = image.ownerDocument;
  const source = image.getAttribute('src') ?? '';
  const label = image.alt || source;
  const inLink = image.closest('a') !== null;
  const stand = owner.createElement(inLink ? 'span' : 'a');
  if (!inLink) stand.setAttribute('href', source);
  stand.className = 'image-link';
  stand.textContent = label;
  image.replaceWith(stand);
}

/** Only links of known schemes lead anywhere; they show their host and tell it nothing of us. */
function guardLink(link: HTMLAnchorElement): void {
  const target = linkOf(link.getAttribute('href') ?? '');
  if (target === null) {
    link.removeAttribute('href');
    return;
  }
  link.href = target;
  link.target = '_blank';
  link.rel = 'noopener noreferrer nofollow';
  const host = hostOf(target);
  if (host && !link.textContent?.includes(host)) {
    const shown = link.ownerDocument.createElement('span');
    shown.className = 'link-host';
    shown.textContent = ` (${host})`;
    link.append(shown);
  }
}

function frameCode(pre: HTMLPreElement): void {
  const owner = pre.ownerDocument;
  const code = pre.querySelector('code');
  const language = /(?:^|\s)language-(\S+)/.exec(code?.className ?? '')?.[1] ?? '';
  const frame = owner.createElement('div');
  frame.className = 'code';
  const head = owner.createElement('div');
  head.className = 'code-head';
  const name = owner.createElement('span');
  name.textContent = language || 'text';
  const copy = owner.createElement('button');
  copy.type = 'button';
  copy.className = 'code-copy';
  copy.textContent = 'Copy';
  copy.setAttribute('aria-label', `Copy ${language || 'code'}`);
  head.append(name, copy);
  pre.tabIndex = 0;
  pre.setAttribute('role', 'region');
  pre.setAttribute('aria-label', language ? `Code, ${language}` : 'Code');
  pre.replaceWith(frame);
  frame.append(head, pre);
}

function frameTable(table: HTMLTableElement): void {
  const frame = table.ownerDocument.createElement('div');
  frame.className = 'table';
  frame.tabIndex = 0;
  frame.setAttribute('role', 'region');
  frame.setAttribute('aria-label', 'Table');
  table.replaceWith(frame);
  frame.append(table);
}
