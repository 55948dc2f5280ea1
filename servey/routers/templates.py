"""Templates: read and checked at start, and rendered in a worker thread, since what they show may have to be fetched.

Everything that they show is escaped, whatever the name of their file ends with; a name that is not there is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from servey.errors import ConfigError, ServeyError
from servey.settings import Settings

if TYPE_CHECKING:
    from jinja2 import Environment


class Templates:
    """The templates of one folder. In development a changed file is read again.

    Source: Jinja, whose loader gives out nothing from outside of the folder.
    Errors: ConfigError where Jinja is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.template_folder
        self._env = _environment(self.folder, reload=settings.is_dev)

    def error_templates(self) -> list[str]:
        """The names of those that stand for errors."""
        return sorted(f"errors/{path.name}" for path in (self.folder / "errors").glob("*.j2"))

    def problems(self, names: Iterable[str]) -> dict[str, str]:
        """What is wrong with these templates and with those that they are made of, by the name that was asked for."""
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
                return f"{problem}, which {str(self.folder / name)!r} is made with"
        return None

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """The text that a template makes of these variables. Errors: whatever the template raises."""
        if any(part.startswith(".") for part in Path(name).parts):
            raise ServeyError(f"{name!r} is no name of a template: a part of it begins with a dot")
        return self._env.get_template(name).render(variables)

    def render_first(self, names: Iterable[str], variables: Mapping[str, Any]) -> str | None:
        """The text that the first of these templates makes that there is; None where there is none of them."""
        name = next((each for each in names if (self.folder / each).is_file()), None)
        return None if name is None else self.render(name, variables)


def _environment(folder: Path, *, reload: bool) -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError:
        raise ConfigError('pages need Jinja; install Servey with the extra "standard"') from None
    env = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        auto_reload=reload,
        undefined=StrictUndefined,
    )
    # What a page hands to its script is written as the action's result is.
    env.policies["json.dumps_function"] = _json
    return env


def _json(value: Any, **options: Any) -> str:
    return to_json(value, inf_nan_mode="null").decode()


def url_for(request: Any, prefix: str) -> Callable[..., str]:
    """What gives the path of a page, an action or any other route, by its name and the parameters in its path."""
    from starlette.routing import NoMatchFound

    def path(name: str, /, **params: Any) -> str:
        for each in (f"page:{name}", name):
            try:
                return str(request.url_for(each, **params).path)
            except NoMatchFound:
                continue
        raise ServeyError(f"url_for({name!r}): there is no page, action or route of that name with {sorted(params)}")

    return path
