"""The list of models: one path, answered in the dialect of whoever asks."""

from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from headrace.core.errors import HeadraceError, ModelNotFound, Unsupported
from headrace.core.models import Model
from headrace.serving.dialects import dialect_of
from headrace.serving.endpoint import Endpoint, Exchange
from headrace.wire import anthropic, openai_chat
