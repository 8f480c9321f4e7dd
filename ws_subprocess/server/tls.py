"""The server's side of TLS: 1.2 or newer, HTTP/1.1 only."""

import ssl

from ws_subprocess.server.settings import StartError


def build_context(cert: str, key: str | None) -> ssl.SSLContext:
    """Return a context for the certificate chain in the PEM file `cert` and the key in `key`, or in the same file.

    Raises:
        StartError: A file cannot be used; the text says which and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for file in filter(None, (cert, key)):
        try:
            with open(file, "rb"):
                pass
        except OSError as exc:
            raise StartError(f"cannot serve TLS: {file}: {exc.strerror}") from exc
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except ssl.SSLError as exc:
        reason = exc.reason or str(exc)
        raise StartError(
            f"cannot serve TLS: {cert} and {key or 'the same file'} are no certificate and its key in PEM ({reason})"
        ) from exc
    except _EncryptedKeyError as exc:
        raise StartError(f"cannot serve TLS: the key in {key or cert} is encrypted; give one that is not") from exc
    return context


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal, which a daemon does not have.
    raise _EncryptedKeyError
