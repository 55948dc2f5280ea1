"""Templates: checked at startup and rendered in a worker thread, because a model may load data lazily.

Everything is autoescaped, whatever the file's suffix; an undefined variable is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from servey.core.errors import ConfigError, ServeyError
from servey.core.settings import Settings
from servey.layout.frame import FILES

if TYPE_CHECKING:
    from jinja2 import Environment


class Templates:
    """The templates of one folder, and ``servey/layout.j2``; in development, changed files are reloaded.

    Source: Jinja, whose loader reads no files outside the folder.
    Errors: ConfigError if Jinja is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder: Path = settings.template_folder
        self._env = _environment(self.folder, reload=settings.is_dev)
        self._reloads = settings.is_dev
        self._personal: dict[str, bool] = {}

    def error_templates(self) -> list[str]:
        """Return the names of the error templates."""
        return sorted(f"errors/{path.name}" for path in (self.folder / "errors").glob("*.j2"))

    def problems(self, names: Iterable[str]) -> dict[str, str]:
        """Return the problems of these templates and of the templates that they include, by name."""
        found = {name: self._problem(name, set()) for name in dict.fromkeys(names)}
        return {name: problem for name, problem in found.items() if problem is not None}

    def _problem(self, name: str, seen: set[str]) -> str | None:
        from jinja2 import TemplateNotFound, TemplateSyntaxError, meta

        seen.add(name)
        try:
            self._env.get_template(name)
            source, _, _ = self._env.loader.get_source(self._env, name)  # type: ignore[union-attr]
            inner = list(meta.find_referenced_templates(self._env.parse(source)))
        except TemplateNotFound:
            return f"there is no template {str(self.folder / name)!r}"
        except TemplateSyntaxError as error:
            return f"template {self.folder / name}:{error.lineno}: {error.message}"
        except UnicodeDecodeError:
            return f"template {self.folder / name} is not UTF-8"
        for each in inner:
            problem = self._problem(each, seen) if each is not None and each not in seen else None
            if problem is not None:
                return f"{problem}, which {str(self.folder / name)!r} uses"
        return None

    def shows_visitor(self, name: str) -> bool:
        """Whether a template, or one that it is made of, uses the visitor's authorization or request."""
        if self._reloads or name not in self._personal:
            self._personal[name] = self._uses(name, {"authorization", "request"}, set())
        return self._personal[name]

    def _uses(self, name: str, variables: set[str], seen: set[str]) -> bool:
        from jinja2 import meta

        seen.add(name)
        source, _, _ = self._env.loader.get_source(self._env, name)  # type: ignore[union-attr]
        parsed = self._env.parse(source)
        if variables & meta.find_undeclared_variables(parsed):
            return True
        # A name that is only known when the template runs may be that of any template.
        inner = list(meta.find_referenced_templates(parsed))
        return any(each is None or (each not in seen and self._uses(each, variables, seen)) for each in inner)

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """Render a template. Errors: whatever the template raises."""
        if any(part.startswith(".") for part in Path(name).parts):
            raise ServeyError(f"{name!r} is not a template name: a part of it begins with a dot")
        return self._env.get_template(name).render(variables)

    def render_first(self, names: Iterable[str], variables: Mapping[str, Any]) -> str | None:
        """Render the first of these templates that exists; None if none exists."""
        name = next((each for each in names if (self.folder / each).is_file()), None)
        return None if name is None else self.render(name, variables)


def _environment(folder: Path, *, reload: bool) -> Environment:
    try:
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
    except ModuleNotFoundError:
        raise ConfigError('pages need the extra "standard"; in a clone: pip install -e ".[standard]"') from None
    env = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder), PrefixLoader({"servey": FileSystemLoader(FILES)})]),
        autoescape=True,
        auto_reload=reload,
        undefined=StrictUndefined,
    )
    # `tojson` in a template writes JSON in the same way as the other transports.
    env.policies["json.dumps_function"] = _json
    return env


def _json(value: Any, **options: Any) -> str:
    return to_json(value, inf_nan_mode="null").decode()


def url_for(request: Any, prefix: str) -> Callable[..., str]:
    """Return a function that returns the path of a page, an action or another route, by name and path parameters."""
    from starlette.routing import NoMatchFound

    def path(name: str, /, **params: Any) -> str:
        for each in (f"page:{name}", name):
            try:
                return str(request.url_for(each, **params).path)
            except NoMatchFound:
                continue
        raise ServeyError(
            f"url_for({name!r}): there is no page, action or route with this name and parameters {sorted(params)}"
        )

    return path
