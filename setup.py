"""Let type checkers and editors find `sluice_client` in an editable install; all else stands in pyproject.toml.

The two packages lie in two folders, so setuptools installs an import hook, which only a running Python follows. mypy,
pyright and editors read paths: one more .pth file tells them the folder of the client, the package that has types.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build

CLIENTS = Path(__file__).resolve().parent / "clients"


class build_path(Command):
    """Write the .pth file into an editable wheel; do nothing for any other."""

    editable_mode = False  # set by setuptools

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        if self.editable_mode:
            install = self.get_finalized_command("install")
            Path(install.install_lib, "sluice_client.pth").write_text(f"{CLIENTS}\n", encoding="locale")

    def get_source_files(self) -> list[str]:
        return []


build.sub_commands.append(("build_path", None))
setup(cmdclass={"build_path": build_path})
