import pytest

from headrace.safety.sandbox import canaries
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.unsandboxed import Unsandboxed
from support.sandbox_world import need_sandbox


async def test_no_canary_escapes():
    need_sandbox()
    assert await canaries.escapes() == ()


async def test_without_a_sandbox_they_escape(monkeypatch: pytest.MonkeyPatch):
    def bare(policy: SandboxPolicy) -> Unsandboxed:
        return Unsandboxed(policy, lambda _: True)

    monkeypatch.setattr(canaries, "Sandbox", bare)
    # Only root opens that setting of the kernel, and some systems let nobody become root.
    assert len(await canaries.escapes()) >= 8
