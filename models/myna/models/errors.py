"""The base error of the project and the errors of what lies on disk."""


class MynaError(Exception):
    """Anything Myna says went wrong; `code` is stable and machine-readable, the text names the field and the remedy."""

    code = "error"


class BundleError(MynaError):
    """A model on disk that is missing, damaged or not for this version."""

    code = "bad_bundle"


class ImportFailed(MynaError):
    """A foreign checkpoint that could not be read; says which key or setting."""

    code = "import_failed"
