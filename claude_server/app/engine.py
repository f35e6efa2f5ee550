"""The engine that the settings ask for."""

from __future__ import annotations

from claude_server.app.tools import work_folder
from claude_server.configuration.settings import Settings
from claude_server.engine.binary import EngineOptions
from claude_server.engine.engine import CliEngine
from claude_server.engine.workers.worker import Limits


def cli_engine(settings: Settings) -> CliEngine:
    """The engine on the CLI that the settings name."""
    # A process that was given a system prompt can't serve a turn without one: room for both kinds.
    size = 2 * settings.max_concurrency
    suspended = size if settings.suspended is None else settings.suspended
    simple = _can_be_simple(settings)
    return CliEngine(
        settings.claude_bin,
        settings.state_dir,
        settings.child_env,
        EngineOptions(
            level=settings.engine,
            setting_sources=settings.setting_sources,
            warm=min(settings.warm_workers, settings.max_concurrency),
            size=max(size, suspended),
            kept_sessions=settings.kept_sessions,
            limits=Limits(
                turns=settings.worker_turns,
                age=settings.worker_age,
                idle=settings.worker_idle,
                memory=settings.worker_memory * 1024 * 1024,
            ),
            share=settings.share_workers,
            simple=simple,
            suspended=suspended,
            suspended_idle=settings.suspended_idle,
            # With a login, "get_usage" reads all conversations of the last week, each time.
            cost_request="get_usage" if simple else "get_session_cost",
            work_folder=work_folder(settings),
        ),
    )


def _can_be_simple(settings: Settings) -> bool:
    """Can the CLI log in while its own notes are left out? It uses a key or a provider's credentials then,
    and no login and no bearer token (it sends one, but says that it isn't logged in)."""
    if settings.login.method == "anthropic":
        found = settings.child_env.keys() & {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"}
        return found == {"ANTHROPIC_API_KEY"}
    return settings.login.method in ("bedrock", "vertex")
