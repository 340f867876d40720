"""A file as its definitions: what each is called and which lines are its own.

Parsed by tree-sitter, so one walk serves every language that has a grammar here.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from headrace.code.edits import parses

if TYPE_CHECKING:
    from tree_sitter import Node

_CONTAINERS = frozenset(
    {
        "class_definition",
        "class_declaration",
        "abstract_class_declaration",
        "interface_declaration",
        "enum_declaration",
        "record_declaration",
        "class",
        "module",
        "impl_item",
        "trait_item",
        "mod_item",
        "class_specifier",
        "struct_specifier",
        "namespace_definition",
        "internal_module",
    }
)
_WRAPPERS = frozenset({"decorated_definition", "export_statement", "expression_statement"})
_IMPORTS = frozenset(
    {
        "import_statement",
        "import_from_statement",
        "future_import_statement",
        "import_declaration",
        "use_declaration",
        "preproc_include",
        "package_clause",
        "package_declaration",
    }
)
_SPACE = re.compile(r"\s+")


class Item(msgspec.Struct, frozen=True):
    """One definition, field or import, or another statement (its key is empty).

    Attributes:
        key: What it defines, such as `def taxes`; equal keys in two versions of a file mean
            the same thing.
        name: The bare name; empty where it has none.
        first: Index of its first line, decorators included.
        last: Index of the line behind its last one.
        bare: Index of its first line behind the decorators.
        members: What a class or module holds.
        body: Index of the first line of the body; only of what has members.
    """

    key: str
    name: str
    first: int
    last: int
    bare: int
    members: tuple["Item", ...] = ()
    body: int | None = None

    @property
    def holds(self) -> bool:
        """Whether it is a class, or something else with members."""
        return self.body is not None


def outline(name: str, text: str) -> tuple[Item, ...] | None:
    """The top-level items of a file; None where it does not parse, or has no grammar here.

    Args:
        name: The file's name; its ending tells the language.
        text: Its text.
    """
    root = parses.tree(name, text)
    if root is None or root.has_error:
        return None
    return _items(root)


def walk(items: Sequence[Item], path: str = "") -> Iterator[tuple[str, Item]]:
    """All items with a name, with what they are called from outside: `Stock.take_back`."""
    for item in items:
        if item.name:
            called = f"{path}{item.name}"
            yield called, item
            yield from walk(item.members, f"{called}.")


def _items(parent: "Node") -> tuple[Item, ...]:
    return tuple(_item(node) for node in parent.named_children if node.type != "comment")


def _item(node: "Node") -> Item:
    first, last = node.start_point.row, _end(node)
    kind, inner = node.type, node
    while inner.type in _WRAPPERS:
        held = inner.child_by_field_name("definition") or inner.child_by_field_name("declaration")
        if held is None and inner.type == "expression_statement" and inner.named_child_count == 1:
            held = inner.named_child(0)
        if held is None:
            break
        inner = held
    if kind in _IMPORTS:
        return Item(f"import {_import_of(node)}", "", first, last, first)
    name = _name(inner)
    body = inner.child_by_field_name("body") if inner.type in _CONTAINERS else None
    if body is not None and name:
        members, at = _items(body), body.start_point.row
        return Item(f"def {name}", name, first, last, inner.start_point.row, members, at)
    return Item(f"def {name}" if name else "", name, first, last, inner.start_point.row)


def _end(node: "Node") -> int:
    """The line behind a node, some of which end at the start of the next line."""
    row, column = node.end_point
    return row + 1 if column else max(row, node.start_point.row + 1)


def _import_of(node: "Node") -> str:
    """What tells one import from another: the module of a `from`, else all of it."""
    module = node.child_by_field_name("module_name")
    return _text(module if module is not None else node)


def _name(node: "Node") -> str:
    if node.type in {"assignment", "assignment_expression"}:
        left = node.child_by_field_name("left")
        return "" if left is None else _text(left)
    if node.type == "impl_item":
        parts = (node.child_by_field_name("trait"), node.child_by_field_name("type"))
        return " for ".join(_text(part) for part in parts if part is not None)
    if node.type == "method_declaration" and node.child_by_field_name("receiver") is not None:
        return f"{_receiver(node)}.{_text(node.child_by_field_name('name'))}"
    named = node.child_by_field_name("name")
    while named is None and node.type not in {"call", "call_expression"}:
        inner = node.child_by_field_name("declarator") or _declared(node)
        if inner is None:
            return _text(node) if node.type.endswith("identifier") else ""
        node, named = inner, inner.child_by_field_name("name")
    return "" if named is None else _text(named)


def _declared(node: "Node") -> "Node | None":
    """The one thing that a declaration declares."""
    kinds = {"variable_declarator", "type_spec", "const_spec", "var_spec", "var_declaration"}
    found = [child for child in node.named_children if child.type in kinds]
    return found[0] if len(found) == 1 else None


def _receiver(node: "Node") -> str:
    """The type that a method of Go belongs to."""
    words = re.findall(r"\w+", _text(node.child_by_field_name("receiver")))
    return words[-1] if words else ""


def _text(node: "Node | None") -> str:
    if node is None or node.text is None:
        return ""
    return _SPACE.sub(" ", node.text.decode("utf-8", "surrogateescape"))
