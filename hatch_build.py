"""The build hook: the chat's web client is built into the package before its files are gathered.

What it does stands in `web/build.py`, which also runs by itself.
"""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebClientHook(BuildHookInterface[Any]):
    """Runs for wheel, editable install and sdist alike."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Asks for node only where it is needed and the machine has none."""
        web = self._web()
        if not web or not web["needs_build"](Path(self.root)) or web["machine_npm"]():
            return []
        return [web["NODE_REQUIREMENT"]]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the client if it is missing or stale."""
        del version, build_data
        web = self._web()
        if web and web["needs_build"](Path(self.root)):
            web["build"](Path(self.root))

    def _web(self) -> dict[str, Any]:
        script = Path(self.root, "web", "build.py")
        return runpy.run_path(str(script)) if script.is_file() else {}
