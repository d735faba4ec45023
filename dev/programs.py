"""Builds programs in Go, Java and TypeScript into the cache, each once for the same sources.

dev/subscribers.py and the comparison with Kafka Streams use them.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from dev.kafka_jars import cache_dir, copy_jars, locked
from dev.toolchains import content_hash, made_once, npm_packages, run, tool

# A native package is compiled if its prebuilt binary cannot be downloaded. The programs need no
# speed, so the compiler does not optimize: @confluentinc/kafka-javascript takes one minute instead
# of three. CKJS_LINKING lets it use the system's zlib and OpenSSL instead of downloading them.
NATIVE_VARIABLES: Final = {
    "CFLAGS": "-O0 -g0",
    "CXXFLAGS": "-O0 -g0",
    "CKJS_LINKING": "dynamic",
}


class JavaProgram(NamedTuple):
    """The folders of a compiled program."""

    jars: Path
    classes: Path

    @property
    def class_path(self) -> str:
        """The value of the option -cp."""
        return f"{self.classes}:{self.jars}/*"


def go_program(project: Path) -> Path:
    """Return the program that Go builds from this module.

    Raises:
        ToolchainError: Go is missing, or it failed.
    """

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        run([tool("go"), "build", "-C", str(project), "-o", str(folder / "program"), "."])

    sources = sorted([*project.glob("*.go"), project / "go.mod", project / "go.sum"])
    return made_once(f"go-{project.name}", sources, make) / "program"


def java_program(name: str, pom: Path, sources: Iterable[Path]) -> JavaProgram:
    """Return the classes of these sources, and the jars of the project file.

    Maven only copies the jars, and they are copied again only if the project file changes.

    Raises:
        ToolchainError: the compiler of Java is missing, or it failed.
        LocalKafkaError: Maven is missing, or it failed.
    """
    sources = sorted(sources)
    jars = cache_dir() / f"{name}-jars-{content_hash([pom])}"
    with locked(cache_dir() / f"{name}-jars.lock"):
        if not jars.is_dir():
            copy_jars(pom, jars, f"the jars of {name}", {})

    def make(folder: Path) -> None:
        options = ["-Xlint:all,-processing", "-Werror", "--release", "17"]
        files = [str(source) for source in sources]
        run([tool("javac"), *options, "-d", str(folder), "-cp", f"{jars}/*", *files])

    return JavaProgram(jars, made_once(f"{name}-classes", [pom, *sources], make))


def typescript_program(project: Path, native: str) -> Path:
    """Return a copy of a project with its packages and its compiled program.

    Args:
        project: a folder with package.json, package-lock.json, tsconfig.json and src/.
        native: a package with a native addon, whose install script must run.

    Raises:
        ToolchainError: Node.js is missing, or npm or the compiler failed.
    """
    packages = npm_packages(project, native, NATIVE_VARIABLES) / "node_modules"

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in ("package.json", "tsconfig.json"):
            shutil.copyfile(project / name, folder / name)
        shutil.copytree(project / "src", folder / "src")
        (folder / "node_modules").symlink_to(packages)
        compiler = packages / "typescript" / "bin" / "tsc"
        run([tool("node"), str(compiler), "--project", str(folder)])

    names = ("package.json", "package-lock.json", "tsconfig.json")
    sources = [*(project / name for name in names), *sorted((project / "src").rglob("*.ts"))]
    return made_once(f"typescript-{project.name}", sources, make)
