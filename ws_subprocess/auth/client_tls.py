"""The client's side of TLS: whose certificates are believed, and which one is shown.

Laws: TLS 1.2 or newer; the certificate must be signed by somebody we trust and name the host we ask; nothing of this
can be switched off.
"""

import ssl

import httpx


def build_context(url: str, ca: str = "", cert: str = "", key: str = "") -> ssl.SSLContext | None:
    """Return a context that verifies the controller at `url`, None for one that is asked without TLS.

    Args:
        ca: PEM file whose certificates are believed, in place of the public ones.
        cert, key: PEM files of the certificate to show; both or none.

    Raises:
        ValueError: A file is not fit; names the setting, the file and the way out.
    """
    if httpx.URL(url).scheme != "https":
        if given := ca or cert:
            name = "controller_ca" if ca else "controller_cert"
            raise ValueError(f"{name} = {given!a}: of no use without TLS; write https:// in controller_url")
        return None
    # The public ones come with the certifi package: the same on every machine.
    context = _trust(ca) if ca else httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        _show(context, cert, key)
    return context


def _trust(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # An intermediate authority, or the controller's very certificate, may be all that somebody trusts.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as exc:  # ssl.SSLError is one.
        raise ValueError(f"controller_ca = {ca!a}: {_reason(exc)}; name a file of certificates in PEM") from exc
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"controller_ca = {ca!a}: holds no certificate; name a file of certificates in PEM")
    return context


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except _EncryptedKeyError as exc:
        raise ValueError(
            f"controller_key = {key!a}: is encrypted; give one that is not, readable for its owner"
        ) from exc
    except OSError as exc:
        text = f"controller_cert = {cert!a}, controller_key = {key!a}: {_reason(exc)}"
        raise ValueError(f"{text}; name a certificate and the key that belongs to it, both in PEM") from exc


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "no PEM").replace("_", " ").lower()
    return exc.strerror or type(exc).__name__


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal, which a daemon does not have.
    raise _EncryptedKeyError
