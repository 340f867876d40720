"""What all tests share."""

pytest_plugins = ["support.browser", "support.database"]
