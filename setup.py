"""Installation; every fact about the package stands in settings.ini."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist


class SourceDistribution(sdist):
    "With settings.ini, which this file reads."

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, [*files, "settings.ini"])


config = ConfigParser(delimiters=["="])
config.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
cfg = config["DEFAULT"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    license="Apache-2.0",
    author=cfg["author"],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=["chitchat", "chitchat.*"]),
    package_data={"chitchat": ["sample/*.jsonl"]},
    cmdclass={"sdist": SourceDistribution},
    install_requires=cfg["requirements"].split(),
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
)
