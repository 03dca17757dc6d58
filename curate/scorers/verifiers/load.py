"""The verifier of a name, ready to check."""

import re
from dataclasses import dataclass
from typing import Final, final

from curate.errors import ConfigError
from curate.scorers.verifiers.boxed import BoxedVerifier, require_math
from curate.scorers.verifiers.number import NumberVerifier
from curate.scorers.verifiers.patient import PatientProcess
from curate.scorers.verifiers.python_tests import PythonVerifier
from curate.scorers.verifiers.texts import PLACE, ExactVerifier, RegexVerifier
from curate.scorers.verifiers.verdict import Verifier, VerifierName

LEAST_MIB: Final = 64
MOST_MIB: Final = 1 << 20  # a tebibyte
MOST_S: Final = 86_400  # a day
_OURS: Final = "curate.scorers.verifiers."


@final
@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """How answers are checked.

    Parameters
    ----------
    verifier
        Which check.
    pattern
        Of ``regex``.
    limit_s
        Seconds a program, a formula or a pattern may compute, at most a day.
    memory_mib
        Memory it may take, at most a tebibyte.
    """

    verifier: VerifierName
    pattern: str = ""
    limit_s: float = 5.0
    memory_mib: int = 2_048

    def check(self, scorer: str) -> None:
        """Raise `ConfigError`, in the name of a scorer or command, for settings that cannot be."""
        if self.pattern and self.verifier != "regex":
            raise ConfigError(
                f"{scorer}.pattern={self.pattern!r} is read by verifier regex alone, and "
                f"{scorer}.verifier is {self.verifier}; leave one of them out"
            )
        try:
            re.compile(self.pattern.replace(PLACE, "x"))
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"{scorer}.pattern={self.pattern!r} is no regular expression: {error}; "
                "write it as Python's re takes it"
            ) from None
        if not 0 < self.limit_s <= MOST_S:
            raise ConfigError(
                f"{scorer}.limit_s must be above 0 and at most {MOST_S}, got {self.limit_s:g}; try 5"
            )
        if not LEAST_MIB <= self.memory_mib <= MOST_MIB:
            raise ConfigError(
                f"{scorer}.memory_mib must be at least {LEAST_MIB} and at most {MOST_MIB}, got "
                f"{self.memory_mib}; try 2048"
            )

    def load(self) -> Verifier:
        """Return the verifier; `MissingPackageError` where it needs a package that is not here."""
        if self.verifier == "number":
            return NumberVerifier()
        if self.verifier == "exact":
            return ExactVerifier()
        if self.verifier == "python":
            return PythonVerifier(self.limit_s, self.memory_mib)
        if self.verifier == "boxed":
            require_math()
            return BoxedVerifier(self._process("boxed"))
        return RegexVerifier(self.pattern, self._process("texts"))

    def _process(self, module: str) -> PatientProcess:
        return PatientProcess(f"{_OURS}{module}", self.limit_s, self.memory_mib)
