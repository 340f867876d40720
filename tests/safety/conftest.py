from support.sandbox_world import sandbox, world

__all__ = ["sandbox", "world"]
