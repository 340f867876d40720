"""Batches, put together: what runs them and what answers for them."""

from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.ledger.tries import Charged
from headrace.serving.batches.calls import Calls
from headrace.serving.batches.intake import Intake
from headrace.serving.batches.results import Results
from headrace.serving.batches.runner import Holder, Runner
from headrace.serving.gateway import Gateway
from headrace.store.file_store import FileStore


class Batches:
    """The parts that routes and the house use.

    Args:
        gateway: The one road.
        files: Keeps inputs and outputs.
        holder: Gives the caller of each line, by the key that the batch was handed in with.
        settings: Limits.
        clock: The house's clock.
        charged: Tells what a line that is run again was charged; None: nothing is charged.
    """

    def __init__(
        self,
        gateway: Gateway,
        files: FileStore,
        *,
        holder: Holder,
        settings: Settings,
        clock: Clock,
        charged: Charged | None = None,
    ) -> None:
        self.files = files
        self.database = files.database
        self.settings = settings
        self.clock = clock
        self.intake = Intake(files, settings, clock)
        self.results = Results(files, clock)
        self.runner = Runner(
            files.database,
            holder=holder,
            calls=Calls(gateway, settings, clock),
            intake=self.intake,
            results=self.results,
            clock=clock,
            running_max=settings.batch_running_max,
            charged=charged,
        )
