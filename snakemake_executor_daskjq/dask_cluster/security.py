"""TLS between scheduler, pilots and client: one certificate a run, made at its start.

Who holds the run's key may connect, nobody else: the certificate signs itself, and every connection is
checked against it on both sides. The files are for the pilots; they are 0600 in a 0700 folder and are
removed when the run ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributed.security import Security

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunSecurity:
    """The credentials of a run: `security` for this process, files for the pilots."""

    security: Security
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> RunSecurity:
        """Make a key and a certificate. Raises OSError where `folder` can't be written."""
        security = Security.temporary()
        run_security = cls(security, folder)
        for name, text in (
            ("ca", security.tls_ca_file),
            ("cert", security.tls_worker_cert),
            ("key", security.tls_worker_key),
        ):
            fd = os.open(run_security._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(text)
        return run_security

    def worker_arguments(self) -> list[str]:
        """The options of `dask worker` that name the files."""
        return [
            *("--tls-ca-file", str(self._file("ca"))),
            *("--tls-cert", str(self._file("cert"))),
            *("--tls-key", str(self._file("key"))),
        ]

    def remove(self) -> None:
        for name in ("ca", "cert", "key"):
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder.absolute() / f"{name}.pem"
