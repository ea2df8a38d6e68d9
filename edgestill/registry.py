"""A package whose modules are plugins: the module name is the key, and a module is imported when chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType

from edgestill.errors import import_failure, missing_library, unknown_name


@dataclass(frozen=True, slots=True)
class Registry:
    """The plugins in a package: its modules without a leading underscore.

    Attributes:
        package: Dotted name of the package, e.g. ``"runtime.backends"``.
        noun: What a module is called in messages, e.g. ``"backend"``.
        extra: By module name, the pip extra that installs the library that the module needs.
    """

    package: str
    noun: str
    extra: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """The keys, sorted; no plugin is imported."""
        spec = find_spec(self.package)
        where = spec.submodule_search_locations if spec else None
        return tuple(sorted(m.name for m in iter_modules(where or []) if not m.name.startswith("_")))

    def load(self, name: str) -> ModuleType:
        """Import the module of a key.

        Raises:
            UsageError: There is no such module.
            DeviceError: A library that the module needs is not installed, or cannot be loaded.
        """
        if name not in self.names():
            raise unknown_name(self.noun, name, self.names())
        try:
            return import_module(f"{self.package}.{name}")
        except ImportError as error:
            noun = f"the {self.noun} {name!r}"
            known = import_failure(noun, error)
            raise known or missing_library(noun, error.name, self.extra.get(name)) from error
