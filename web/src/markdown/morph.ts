/**
 * Makes the children of `target` equal to those of `next`, touching only what differs: a
 * selection in text that stays survives, and the browser lays out only what changed. The first
 * `kept` children are left as they are.
 */
export function morph(target: Node, next: Node, kept = 0): void {
  let held = target.childNodes[kept] ?? null;
  for (let want = next.firstChild; want; ) {
    const after: ChildNode | null = want.nextSibling;
    if (!held) {
      target.appendChild(want);
    } else {
      const rest: ChildNode | null = held.nextSibling;
      if (!held.isEqualNode(want)) change(held, want);
      held = rest;
    }
    want = after;
  }
  while (held) {
    const rest: ChildNode | null = held.nextSibling;
    held.remove();
    held = rest;
  }
}

function change(held: ChildNode, want: ChildNode): void {
  if (held instanceof Text && want instanceof Text) {
    if (want.data.startsWith(held.data)) held.appendData(want.data.slice(held.data.length));
    else held.data = want.data;
  } else if (held instanceof Element && want instanceof Element && sameShell(held, want)) {
    morph(held, want);
  } else {
    held.replaceWith(want);
  }
}

function sameShell(one: Element, other: Element): boolean {
  return one.cloneNode(false).isEqualNode(other.cloneNode(false));
}
