"""Structured logs: what every line says, where it goes, and one trace id through all processes.

Belongs here: setting up logs, the context that lines carry, handing it to other processes.
Does not belong here: files on disk (see `log_files`), what is secret (see `log_masking`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import cast
from zoneinfo import ZoneInfo

import structlog
from structlog.typing import EventDict, WrappedLogger

from optrade.tables import IST
from resources.log_files import DailyFile, LogError, compress_old, set_aside
from resources.log_masking import hide, masked, secrets_of
from resources.settings import Settings

__all__ = [
    "LogError",
    "bind",
    "bound",
    "carried",
    "child_environment",
    "compress_old",
    "configure_logging",
    "context",
    "get_logger",
    "hide",
    "route_twisted",
    "set_aside",
    "trace_of",
    "trace_tags",
]
FACTS = ("at", "level", "component", "pid", "logger", "event")
"""Fields of every line, first and in this order."""
FIELDS = ("trace_id", "session", "run_id", "step", "partition", "asset", "instrument")
"""Fields of the context, on every line for which they are known."""
CONTEXT_VARIABLE = "LOG_CONTEXT"
"""Variable of the environment that hands the context to child processes, as JSON."""
TRACE_TAG = "optrade/trace_id"
"""Tag of a Dagster run that holds its trace id."""
_ROUTED = ("dagster", "dagster-webserver", "uvicorn", "twisted")
_CHATTY = ("alembic", "dagster.daemon.QueuedRunCoordinatorDaemon")
"""Loggers that say nothing of interest below a warning, but that often."""
_TRACE = re.compile(r"[\w.-]{1,64}", re.ASCII)
_process: dict[str, str] = {}
_of_now: list[Callable[[], Mapping[str, str]]] = []


def configure_logging(
    settings: Settings,
    component: str,
    *,
    terminal: bool = True,
    fields: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Send all logs of this process to `<log_root>/<component>-<day>.jsonl` and the terminal.

    Everything passes through the standard library's root logger, whoever logs; loggers of
    Dagster, uvicorn (start it with `log_config=None`) and Twisted (see `route_twisted`) lose
    handlers of their own. Without `terminal` only what ends the process is shown there. What
    nobody caught is logged. Takes over the context of the process that started this one, or
    begins a new trace; `fields` gives what of the context is known only when a line is written.
    Calling again replaces what was set up before.

    Raises `LogError` for a component that cannot be part of a file name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", component):
        raise LogError(f"found the component {component!r}; expected a-z, 0-9 and _, as in collect")
    hide(*secrets_of(settings))
    pretty = settings.logging.format == "pretty" or (
        settings.logging.format == "auto" and sys.stderr.isatty()
    )
    file, shown = DailyFile(settings.log_root, component), _Terminal()
    file.setFormatter(_formatter(component, pretty=False))
    shown.setFormatter(_formatter(component, pretty=pretty))
    shown.setLevel(logging.NOTSET if terminal else logging.CRITICAL)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, DailyFile | _Terminal):
            root.removeHandler(handler)
    root.addHandler(file)
    root.addHandler(shown)
    root.setLevel(settings.logging.level)
    _route_loggers()
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    _of_now[:] = [fields]
    _take_over_context()


_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger of that name: `log.info("segment sealed", frames=12)`.

    Where nothing was set up, as in a command that only reads, warnings go to standard error.
    """
    wrapped = structlog.wrap_logger(
        logging.getLogger(name),
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return cast("structlog.stdlib.BoundLogger", wrapped)


def context() -> dict[str, str]:
    """The fields every line carries now: the process's own, then those of the running task."""
    known = dict(_process)
    for fields in _of_now:
        known |= fields()
    known |= structlog.contextvars.get_contextvars()
    return {field: str(known[field]) for field in FIELDS if field in known}


@contextmanager
def bound(**fields: str | int | None) -> Iterator[None]:
    """Carry these fields (see `FIELDS`; None is left out) on every line inside the block.

    They hold for the current thread or task. Raises `LogError` for another field.
    """
    with structlog.contextvars.bound_contextvars(**_checked(fields)):
        yield


def carried() -> Callable[[], object]:
    """What gives a thread the context of here: `ThreadPoolExecutor(4, initializer=carried())`."""
    return partial(structlog.contextvars.bind_contextvars, **context())


def bind(**fields: str | int | None) -> None:
    """Carry these fields on every line of this process, all threads, and of its children.

    Raises `LogError` for a field that is not in `FIELDS`.
    """
    _process.update(_checked(fields))
    os.environ[CONTEXT_VARIABLE] = json.dumps(_process)


def child_environment() -> dict[str, str]:
    """The variable that hands the present context to a child process, to add to its others."""
    return {CONTEXT_VARIABLE: json.dumps(context())}


def trace_tags() -> dict[str, str]:
    """The present trace id as tags of a Dagster run; none where there is no trace."""
    trace = context().get("trace_id")
    return {TRACE_TAG: trace} if trace else {}


def trace_of(tags: Mapping[str, str]) -> str | None:
    """The trace id in a run's tags; `bound(trace_id=trace_of(run.tags))` goes on with it."""
    return tags.get(TRACE_TAG)


def _checked(fields: Mapping[str, str | int | None]) -> dict[str, str]:
    if strange := sorted(set(fields) - set(FIELDS)):
        raise LogError(
            f"found {', '.join(strange)}; the context has {', '.join(FIELDS)}. Give other facts "
            "with the message they belong to."
        )
    return {name: str(value) for name, value in fields.items() if value is not None}


def _take_over_context() -> None:
    """The context in the environment, or a new trace where there is none or none to be read."""
    text = os.environ.get(CONTEXT_VARIABLE) or "{}"
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    understood = isinstance(given, dict) and _TRACE.fullmatch(str(given.get("trace_id", "none")))
    fields = {name: str(given[name]) for name in FIELDS if name in given} if understood else {}
    bind(**({"trace_id": secrets.token_hex(8)} | _process | fields))
    if not understood:
        get_logger("optrade.logs").warning(
            f"{CONTEXT_VARIABLE} is no context of ours; a new trace begins", found=text[:200]
        )


def route_twisted() -> None:
    """Let Twisted's own log go where the others go; call it before the reactor runs."""
    from twisted.logger import STDLibLogObserver, globalLogBeginner  # noqa: PLC0415 (loads slowly)

    observer = STDLibLogObserver("twisted")
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)  # type: ignore[list-item]


def _route_loggers() -> None:
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in _ROUTED:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Terminal(logging.Handler):
    """Standard error, whatever it is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 (as every handler of the standard library)
            self.handleError(record)


def _formatter(component: str, *, pretty: bool) -> logging.Formatter:
    def lay_out(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        del event["_from_structlog"]
        at = datetime.fromtimestamp(record.created, ZoneInfo(IST)).isoformat(
            timespec="microseconds"
        )
        said = (at, record.levelname.lower(), component, record.process, record.name)
        facts = dict(zip(FACTS, (*said, event.pop("event")), strict=True))
        return {**facts, **context(), **{k: v for k, v in event.items() if k not in facts}}

    last = (_shorten, _pretty_renderer()) if pretty else (_as_json,)
    return structlog.stdlib.ProcessorFormatter(
        processors=[lay_out, structlog.processors.format_exc_info, _mask, *last]
    )


def _mask(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return cast("EventDict", masked(event))


def _as_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=False)


def _shorten(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {**event, "at": event["at"][11:23]} | {"event": str(event["event"])}


def _pretty_renderer() -> structlog.dev.ConsoleRenderer:
    colours = sys.platform != "win32" and "NO_COLOR" not in os.environ and sys.stderr.isatty()
    return structlog.dev.ConsoleRenderer(
        colors=colours, timestamp_key="at", exception_formatter=structlog.dev.plain_traceback
    )


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    get_logger("optrade.uncaught").critical("nobody caught this", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
