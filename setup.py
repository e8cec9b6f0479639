"""Sets what pyproject.toml cannot say: what a wheel carries besides the packages, and where type checkers find the
client.

A wheel carries, in `sluice/shipped`, the folders that lie beside the packages in a clone: both model repositories, the
stand-in backend, the export code with the scenes that it draws, and the weights. Files built on a user's machine
(engines, Python's caches) stay out.

An editable install uses the clone itself. Its two packages lie in two folders, so setuptools installs an import hook,
which only a running Python follows. mypy, pyright and editors read paths, so one more .pth file tells them the folder
of the client, the package that has types.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CLIENTS = ROOT / "clients"
SHIPPED = ("model_repository", "ensembles", "backends", "export", "scenes", "weights")
BUILT = shutil.ignore_patterns("model.onnx", "model.plan*", "model.rtx.*", "__pycache__", "*.pyc", "*.own.pt")


class build_whole(build_py):
    """Copy the packages, and into a wheel that is not editable all that a server and an export are made from."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # else files of an earlier build would be shipped, too
        super().run()
        for name in SHIPPED:
            shutil.copytree(ROOT / name, Path(self.build_lib) / "sluice" / "shipped" / name, ignore=BUILT)


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
setup(cmdclass={"build_py": build_whole, "build_path": build_path})
