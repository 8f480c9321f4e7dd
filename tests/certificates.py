"""Certificates made for a test: an authority, and what it signs."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    cert: Path
    key: Path


def make_authority(folder: Path, name: str = "authority") -> Pair:
    return _make(folder, name, None, "", is_authority=True, days=(-1, 1))


def make_certificate(
    folder: Path, name: str, signer: Pair | None, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)
) -> Pair:
    """Return a certificate for `host`, signed by itself when there is no signer; valid between two days from now."""
    return _make(folder, name, signer, host, is_authority=False, days=days)


def _make(folder: Path, name: str, signer: Pair | None, host: str, is_authority: bool, days: tuple[int, int]) -> Pair:
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
    certificate = builder.sign(signer.private_key if signer else private_key, hashes.SHA256())
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(_write_key(private_key, serialization.NoEncryption()))
    return Pair(certificate, private_key, cert, key)


def write_locked(pair: Pair, path: Path) -> None:
    """Write the pair's key under a password."""
    path.write_bytes(_write_key(pair.private_key, serialization.BestAvailableEncryption(b"secret")))


def serve_tls(pair: Pair, clients: Pair | None = None) -> ssl.SSLContext:
    """Return a server's context; with `clients`, it wants a certificate that this authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.cert)
    return context


def _write_key(key: ec.EllipticCurvePrivateKey, lock: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
