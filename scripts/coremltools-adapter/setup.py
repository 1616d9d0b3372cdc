"""Puts the library that this source tree has built (or MLTOOLS_LIBRARY names) beside the Python modules."""
import os
import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

TREE = pathlib.Path(__file__).resolve().parent.parent.parent


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        library = pathlib.Path(os.environ.get("MLTOOLS_LIBRARY") or TREE / "build" / "lib" / "libmltools.so")
        target = pathlib.Path(self.build_lib) / "mltools_coremltools"
        if library.exists() and target.is_dir():
            shutil.copyfile(library, target / "libmltools.so")


setup(cmdclass={"build_py": BuildWithLibrary})
