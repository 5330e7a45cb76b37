"""Certificate authority and keys of the lab, kept in `.lab/pki`."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_VALID = datetime.timedelta(days=3650)
LEAF_VALID = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)
_CLOCK_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key, PEM."""

    cert: Path
    key: Path


class Authority:
    """The lab's CA. Makes it on first use; certificates are made anew when missing or near their end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca = self._pair("ca")
        if not (self.ca.cert.exists() and self.ca.key.exists()):
            self._make_ca()
        self._ca_cert = x509.load_pem_x509_certificate(self.ca.cert.read_bytes())
        self._ca_key = _load_key(self.ca.key)

    @property
    def ca_pem(self) -> bytes:
        return self.ca.cert.read_bytes()

    def client(self, file: str, user: str, groups: Sequence[str] = ()) -> Pair:
        """Certificate that the API server takes as `user` in `groups`."""
        return self._leaf(file, user, groups, names=(), usages=[ExtendedKeyUsageOID.CLIENT_AUTH])

    def server(self, file: str, names: Sequence[str]) -> Pair:
        """Certificate for a server with these DNS names and addresses, usable as a client too."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._leaf(file, file, (), names=names, usages=usages)

    def signing_key(self, file: str) -> Pair:
        """Key pair that signs service-account tokens; `cert` is the public key."""
        pair = Pair(self._folder / f"{file}.pub", self._folder / f"{file}.key")
        if not (pair.cert.exists() and pair.key.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(pair.key, _key_pem(key))
            public = serialization.PublicFormat.SubjectPublicKeyInfo
            write_private(pair.cert, key.public_key().public_bytes(serialization.Encoding.PEM, public))
        return pair

    def _pair(self, file: str) -> Pair:
        return Pair(self._folder / f"{file}.crt", self._folder / f"{file}.key")

    def _make_ca(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("ingle-lab-ca", ())
        builder = _builder(name, name, key.public_key(), CA_VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        write_private(self.ca.key, _key_pem(key))
        write_private(self.ca.cert, _cert_pem(builder.sign(key, hashes.SHA256())))

    def _leaf(
        self,
        file: str,
        user: str,
        groups: Sequence[str],
        *,
        names: Sequence[str],
        usages: list[x509.ObjectIdentifier],
    ) -> Pair:
        pair = self._pair(file)
        if self._still_good(pair, names):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(user, groups), self._ca_cert.subject, key.public_key(), LEAF_VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        write_private(pair.key, _key_pem(key))
        write_private(pair.cert, _cert_pem(builder.sign(self._ca_key, hashes.SHA256())))
        return pair

    def _still_good(self, pair: Pair, names: Sequence[str]) -> bool:
        if not (pair.cert.exists() and pair.key.exists()):
            return False
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        if (
            cert.not_valid_after_utc - _now() < RENEW_BEFORE
            or cert.public_key() != _load_key(pair.key).public_key()
        ):
            return False
        if not names:
            return True
        known = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return list(known) == _alternatives(names)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    partial.rename(path)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: datetime.timedelta
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + valid)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_alternative(name) for name in names]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no elliptic-curve key; remove the folder and start again")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
