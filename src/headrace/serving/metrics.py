"""What Prometheus may scrape: counts and times per model and dialect, never content."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from headrace.core.models import Usage

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_PER_MS = 1_000


class Metrics:
    """The gateway's figures, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "headrace_requests",
            "Model calls by how they ended.",
            ("model", "dialect", "outcome"),
            registry=self._registry,
        )
        self._tokens = Counter(
            "headrace_tokens",
            "Tokens by kind: input, cached, output, reasoning.",
            ("model", "kind"),
            registry=self._registry,
        )
        self._first_token_s = Histogram(
            "headrace_time_to_first_token_seconds",
            "From the request to the first token.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._duration_s = Histogram(
            "headrace_request_duration_seconds",
            "From the request to the end of the answer.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.running = Gauge(
            "headrace_requests_running", "Model calls in progress.", registry=self._registry
        )

    def record(
        self,
        *,
        model: str,
        dialect: str,
        outcome: str,
        usage: Usage,
        first_token_ms: float | None,
        duration_ms: float,
    ) -> None:
        """Count one ended model call."""
        self._requests.labels(model, dialect, outcome).inc()
        for kind in ("input", "cached", "output", "reasoning"):
            count: int = getattr(usage, kind)
            if count:
                self._tokens.labels(model, kind).inc(count)
        if first_token_ms is not None:
            self._first_token_s.labels(model).observe(first_token_ms / _PER_MS)
        self._duration_s.labels(model).observe(duration_ms / _PER_MS)

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
