"""Making certificates and reading them: what is in them, what a node takes, and every way to get it wrong."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from iridium.cli.group import iridium
from iridium.cluster import certificates as c
from iridium.cluster.identity import NODE_FILE, DataDirectory
from iridium.cluster.keeping import keep
from iridium.cluster.tls import TlsError, names_of
from iridium.cluster.tls_files import DIRECTORY, LARGEST_PEM, TlsFiles, find_files, load_tls
from iridium.errors import CertificateError, OptionError
from iridium.private import write_whole
from tests.tls_double import CA, IDS, LONG_AGO, OTHER_CA

A = IDS["a"]

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def make(directory: Path, *, ids: Any = (A,), hosts: Any = (), ca: c.Authority = CA, **how: Any) -> TlsFiles:
    """The files of a node."""
    key = c.make_key()
    certificate = c.issue(c.make_csr(key), ids, hosts, ca, **how)
    keep(directory / DIRECTORY, certificate, c.key_pem(key), c.certificate_pem(ca.certificate), replace=True)
    files = find_files(None, None, None, None, directory)
    assert files is not None
    return files


# --- what is in them ---


@needs_openssl
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_takes_them(tmp_path: Path, purpose: str) -> None:
    """OpenSSL's strictest reading of the standard has nothing against a certificate, for either end of a link."""
    files = make(tmp_path, hosts=["node.example", "10.0.0.1"])
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        files.authority,
        files.certificate,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith(": OK\n"), done.stderr
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", files.authority, files.authority],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith(": OK\n"), done.stderr


def test_what_a_node_certificate_says() -> None:
    """Both purposes, no CA, the names that were given, a serial of its own, and no longer than the CA."""
    now = datetime.datetime(2030, 5, 1, 12, tzinfo=datetime.UTC)
    ca = c.make_ca("short", years=1, now=now)
    hosts = ["Node.Example.", "10.0.0.1", "2001:DB8::1", "bücher.example"]
    pems = [c.issue(c.make_csr(c.make_key()), [A], hosts, ca, years=5, now=now) for _ in range(2)]
    one, other = map(x509.load_pem_x509_certificate, pems)
    assert one.serial_number != other.serial_number
    assert one.not_valid_before_utc == now - c.BACKDATED
    assert one.not_valid_after_utc == ca.certificate.not_valid_after_utc
    assert not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:uuid:{A}"]
    assert names.get_values_for_type(x509.DNSName) == ["node.example", "xn--bcher-kva.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("2001:db8::1"),
    ]
    read = names_of(one)
    assert read.ids == {A}
    assert read.hosts == {"node.example", "10.0.0.1", "2001:db8::1", "xn--bcher-kva.example"}


def test_the_names_of_a_request_count_for_nothing() -> None:
    """Whoever asks for a certificate is who the issuer says, whatever the request says, a CA least of all."""
    key = c.make_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("victim.example")]), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    asked = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    certificate = x509.load_pem_x509_certificate(c.issue(asked, [A], [], CA))
    assert (names_of(certificate).ids, names_of(certificate).hosts) == ({A}, frozenset())
    assert "root" not in certificate.subject.rfc4514_string()
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        lambda: ed25519.Ed25519PrivateKey.generate(),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_of_others(tmp_path: Path, key: Any) -> None:
    """A key of another usual kind does, the node's and the CA's."""
    private = key()
    own_hash = isinstance(private, ed25519.Ed25519PrivateKey)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = request.sign(private, None if own_hash else hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    keep(
        tmp_path / DIRECTORY,
        c.issue(csr, [A], [], CA),
        c.key_pem(private),
        c.certificate_pem(CA.certificate),
    )
    files = find_files(None, None, None, None, tmp_path)
    assert files is not None
    assert load_tls(files).names.ids == {A}


def bad_requests() -> dict[str, bytes]:
    """What is no signing request that anything can be signed for."""
    pem, sha256 = serialization.Encoding.PEM, hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    good = c.make_csr(c.make_key())
    lines = good.decode().splitlines()
    lines[-2] = lines[-2][:-8] + "AAAAAA=="
    return {
        "nothing": b"",
        "no PEM": b"hello",
        "not UTF-8": b"-----BEGIN CERTIFICATE REQUEST-----\n\xff\n-----END CERTIFICATE REQUEST-----\n",
        "a certificate": c.certificate_pem(CA.certificate),
        "too long": good + b" " * c.LARGEST_REQUEST,
        "a forged signature": "\n".join(lines).encode(),
        "a weak key": request.sign(rsa.generate_private_key(65537, 1024), sha256).public_bytes(pem),
        "a strange curve": request.sign(ec.generate_private_key(ec.SECP256K1()), sha256).public_bytes(pem),
        "a key of no use": request.sign(dsa.generate_private_key(1024), sha256).public_bytes(pem),
    }


BAD_REQUESTS = bad_requests()


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests(name: str) -> None:
    """A request that is none, or none to sign, is one error."""
    with pytest.raises(CertificateError, match=r"signing request"):
        c.issue(BAD_REQUESTS[name], [A], [], CA)


@pytest.mark.parametrize(
    ("ids", "hosts"),
    [
        ([], []),
        (["alpha"], []),
        (["ABCDEF01-0000-4000-8000-000000000000"], []),
        ([A.replace("-", "")], []),
        ([], ["*.example"]),
        ([], ["a b"]),
        ([], ["-a.example"]),
        ([], [""]),
        ([], ["a..example"]),
        ([], ["x" * 64]),
        ([], ["10.0.0.1:2254"]),
        ([], [f"h{at}" for at in range(c.MOST_NAMES + 1)]),
    ],
)
def test_bad_names(ids: list[str], hosts: list[str]) -> None:
    """A name that can be nobody's is an error, and no certificate."""
    with pytest.raises(CertificateError):
        c.issue(c.make_csr(c.make_key()), ids, hosts, CA)


@pytest.mark.parametrize("years", [0, -1, c.MOST_YEARS + 1])
def test_years(years: int) -> None:
    """A time that cannot be meant is an error."""
    with pytest.raises(CertificateError, match="years"):
        c.make_ca("ca", years)


def test_a_ca_is_read_with_care() -> None:
    """What is no CA, has no key that fits, or has expired, signs nothing."""
    pem, key = c.certificate_pem(CA.certificate), c.key_pem(CA.key)
    assert c.read_ca(pem, key).certificate == CA.certificate
    own = c.make_key()
    node = c.issue(c.make_csr(own), [A], [], CA)
    old = c.make_ca("old", 1, LONG_AGO)
    secret = CA.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for certificate, private, problem in (
        (b"x", key, "no certificate"),
        (pem, b"x", "no private key"),
        (pem, secret, "encrypted"),
        (pem, c.key_pem(OTHER_CA.key), "does not belong"),
        (node, c.key_pem(own), "not a CA"),
        (c.certificate_pem(old.certificate), c.key_pem(old.key), "expired"),
    ):
        with pytest.raises(CertificateError, match=problem):
            c.read_ca(certificate, private)


# --- files ---


def test_files_are_whole_private_and_never_lost(tmp_path: Path) -> None:
    """A key is for its owner; a file that is there stays, unless it is to be replaced; nothing else is left."""
    path = tmp_path / "new" / "key"
    write_whole(path, b"one", replace=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(OptionError, match="is there already"):
        write_whole(path, b"two", replace=False)
    assert path.read_bytes() == b"one"
    write_whole(path, b"two", replace=True)
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["key"]
    with pytest.raises(OptionError, match="cannot be made"):
        write_whole(path / "under" / "a file", b"", replace=False)


def test_a_set_of_files_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where one of a node's files is there already, none is written."""
    (tmp_path / "ca.pem").write_bytes(b"old")
    with pytest.raises(CertificateError, match=r"is there already; .*--replace"):
        keep(tmp_path, b"1", b"2", b"3")
    assert os.listdir(tmp_path) == ["ca.pem"]
    keep(tmp_path, b"1", b"2", b"3", replace=True)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {
        "node.pem": b"1",
        "node.key": b"2",
        "ca.pem": b"3",
    }


def test_what_a_directory_holds(tmp_path: Path) -> None:
    """A node with a whole set of files has TLS, one with none has not, and one with a part does not start."""
    assert find_files(None, None, None, None, tmp_path) is None
    files = make(tmp_path)
    assert not files.by_option
    assert files.authority_key is None
    (tmp_path / DIRECTORY / "ca.key").write_text("x")
    again = find_files(None, None, None, None, tmp_path)
    assert again is not None
    assert again.authority_key == tmp_path / DIRECTORY / "ca.key"
    files.certificate.unlink()
    with pytest.raises(OptionError, match=r"has node.key and ca.pem, but no node.pem"):
        find_files(None, None, None, None, tmp_path)


@pytest.mark.parametrize("what", ["file", "link to nothing"])
def test_a_directory_that_cannot_be_looked_into(tmp_path: Path, what: str) -> None:
    """It is not taken for a node without TLS."""
    if what == "file":
        (tmp_path / DIRECTORY).write_text("x")
    else:
        (tmp_path / DIRECTORY).symlink_to(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="cannot be read"):
        find_files(None, None, None, None, tmp_path)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((True, False, False), "--tls-key and --tls-ca are missing"),
        ((True, True, False), "--tls-ca is missing"),
        ((False, True, True), "--tls-cert is missing"),
    ],
)
def test_all_options_or_none(tmp_path: Path, given: tuple[bool, ...], missing: str) -> None:
    """Some of the three options are an error that names the others."""
    certificate, key, authority = (tmp_path / "x" if there else None for there in given)
    with pytest.raises(OptionError, match=missing):
        find_files(certificate, key, authority, None, tmp_path)


def test_a_ca_key_alone(tmp_path: Path) -> None:
    """A CA's key without certificates is an error too."""
    with pytest.raises(OptionError, match="are missing"):
        find_files(None, None, None, tmp_path / "ca.key", tmp_path)


def spoil(files: TlsFiles, how: str) -> None:
    """Make one file one that cannot be used."""
    pem = serialization.Encoding.PEM
    if how == "no certificate":
        files.certificate.unlink()
    elif how == "a directory":
        files.authority.unlink()
        files.authority.mkdir()
    elif how == "no PEM":
        files.certificate.write_text("hello")
    elif how == "a CA that is no PEM":
        files.authority.write_bytes(b"\xff\xfe")
    elif how == "a huge file":
        files.authority.write_bytes(b"x" * (LARGEST_PEM + 1))
    elif how == "no key":
        files.key.write_bytes(files.certificate.read_bytes())
    elif how == "an open key":
        files.key.chmod(0o640)
    elif how == "another key":
        files.key.write_bytes(c.key_pem(c.make_key()))
    elif how == "an encrypted key":
        private = c.make_key().private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
        )
        files.key.write_bytes(private)
    elif how == "another CA":
        files.authority.write_bytes(c.certificate_pem(OTHER_CA.certificate))
    elif how == "no names":
        key = c.make_key()
        files.key.write_bytes(c.key_pem(key))
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, A)])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(CA.certificate.subject)
        builder = builder.public_key(key.public_key()).serial_number(1).not_valid_before(now)
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        files.certificate.write_bytes(builder.sign(CA.key, hashes.SHA256()).public_bytes(pem))


@pytest.mark.parametrize("by_option", [True, False])
@pytest.mark.parametrize(
    ("how", "option", "problem"),
    [
        ("no certificate", "--tls-cert ", "cannot be read: No such file"),
        ("a directory", "--tls-ca ", "cannot be read: Is a directory"),
        ("no PEM", "--tls-cert ", "holds no certificate in PEM form"),
        ("a CA that is no PEM", "--tls-ca ", "holds no certificate in PEM form"),
        ("a huge file", "--tls-ca ", "has over"),
        ("no key", "--tls-key ", "holds no private key in PEM form"),
        ("an open key", "", "the private key"),
        ("another key", "--tls-key ", "is not the key of the certificate"),
        ("an encrypted key", "--tls-key ", "is encrypted"),
        ("another CA", "--tls-cert ", "the certificate is of another CA"),
        ("no names", "--tls-cert ", "names no node and no host"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, how: str, option: str, problem: str, by_option: bool) -> None:
    """Whatever is wrong with a file is one error at the start, with the file and its option if there was one."""
    files = make(tmp_path)._replace(by_option=by_option)
    spoil(files, how)
    with pytest.raises(OptionError) as caught:
        load_tls(files)
    text = str(caught.value)
    assert problem in text
    if option:
        assert text.startswith((option if by_option else "") + str(tmp_path)), text
    else:
        assert str(files.key) in text
        assert "chmod 600" in text


def test_times(tmp_path: Path) -> None:
    """A certificate that has expired, or is not valid yet, is an error that says when."""
    files = make(tmp_path, years=1)
    for when, problem in ((LONG_AGO, "not valid before"), (LONG_AGO.replace(year=2200), "has expired, on")):
        with pytest.raises(OptionError, match=problem):
            load_tls(files, when)
    with pytest.raises(OptionError, match="has expired"):
        load_tls(make(tmp_path, ca=c.make_ca("old", 1, LONG_AGO), now=LONG_AGO))


def test_files_are_read_again(tmp_path: Path) -> None:
    """What has been replaced is what the next reading finds."""
    files = make(tmp_path)
    assert load_tls(files).names.ids == {A}
    make(tmp_path, ids=[IDS["b"]])
    assert load_tls(files).names.ids == {IDS["b"]}


def test_names_that_cannot_be_read() -> None:
    """A certificate with nonsense for names is an error of that connection."""

    class Broken:
        @property
        def extensions(self) -> Any:
            raise ValueError("nonsense")

    with pytest.raises(TlsError, match="cannot be read"):
        names_of(Broken())


# --- the command ---


def run(*arguments: str) -> Result:
    """What ``iridium certificates ...`` does."""
    return CliRunner().invoke(iridium, ["certificates", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with a CA in ``CA``."""
    monkeypatch.chdir(tmp_path)
    assert run("ca", "CA").exit_code == 0
    return tmp_path


def test_a_ca(here: Path) -> None:
    """Two files, the key for its owner; another run changes nothing unless it is told to."""
    key = here / "CA" / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    again = run("ca", "CA")
    assert again.exit_code == 1
    assert "--replace" in again.output
    assert key.read_bytes() == before
    answer = json.loads(run("ca", "CA", "--replace", "--json").output)
    assert answer["key"] == "CA/ca.key"
    assert key.read_bytes() != before


def test_a_node_of_this_host(here: Path) -> None:
    """A node that never ran gets its id with its certificate, and starts with both; a new one keeps the id."""
    made = run("node", "--ca", "CA", "--data-root-dir", "data", "--node-alias", "alpha")
    assert made.exit_code == 0, made.output
    id = json.loads((here / "data/alpha" / NODE_FILE).read_text())["id"]
    assert id in made.output
    files = find_files(None, None, None, None, here / "data/alpha")
    assert files is not None
    assert load_tls(files).names.ids == {id}
    again = run("node", "--ca", "CA", "--data-root-dir", "data", "--node-alias", "alpha")
    assert (again.exit_code, "--replace" in again.output) == (1, True)
    data = DataDirectory(here / "data/alpha")  # as if it ran
    renewed = run(
        "node",
        "--ca",
        "CA",
        "--data-root-dir",
        "data",
        "--node-alias",
        "alpha",
        "--replace",
        "--host",
        "a.example",
    )
    assert renewed.exit_code == 0, renewed.output
    assert data.load_node().id == id
    data.close()
    assert load_tls(files).names.ids == {id}
    assert load_tls(files).names.hosts == {"a.example"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_a_node_of_another_user(here: Path) -> None:
    """What root makes for a node that never ran belongs to whose directory it is in, all of it."""
    (here / "data").mkdir()
    os.chown(here / "data", 1234, 1235)
    made = run("node", "--ca", "CA", "--data-root-dir", "data", "--node-alias", "alpha")
    assert made.exit_code == 0, made.output
    owners = {path: path.stat().st_uid for path in (here / "data").rglob("*")}
    assert len(owners) == 7  # two directories, the lock, node.json, the certificate, its key, the CA
    assert set(owners.values()) == {1234}, owners


def test_a_node_elsewhere(here: Path) -> None:
    """A node of another host gets a directory with its name, and its options are told."""
    made = run("node", "beta", "--ca", "CA", "--host", "10.0.0.7", "--host", "beta.example", "--id", A)
    assert made.exit_code == 0, made.output
    assert "--tls-cert beta/node.pem --tls-key beta/node.key --tls-ca beta/ca.pem" in made.output
    files = find_files(Path("beta/node.pem"), Path("beta/node.key"), Path("beta/ca.pem"), None, here)
    assert files is not None
    assert load_tls(files).names == ({A}, {"10.0.0.7", "beta.example"})


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("node", "beta", "--ca", "CA"), 2, "whom it is for"),
        (("node", "--ca", "CA"), 2, "name the node"),
        (("node", "beta", "--ca", "CA", "--node-alias", "b"), 2, "NAME and --out are for nodes elsewhere"),
        (("node", "beta", "--ca", "none", "--host", "h"), 1, "none/ca.pem cannot be read"),
        (("node", "beta", "--ca", "CA", "--host", "*.example"), 1, "name each host"),
        (("node", "beta", "--ca", "CA", "--id", "alpha"), 1, "not a node id"),
        (("node", "--ca", "CA", "--data-root-dir", "data", "--node-alias", "a@b"), 1, "--node-alias 'a@b'"),
        (("node", "beta", "--ca", "CA", "--host", "h", "--years", "0"), 1, "0 years"),
        (("ca", "CA/ca.pem"), 1, "cannot be made"),
        (("ca", "new", "--name", "x" * 65), 1, "cannot be a name"),
    ],
)
def test_mistakes(here: Path, arguments: tuple[str, ...], status: int, problem: str) -> None:
    """A mistake is one line with what to do, and writes nothing."""
    done = run(*arguments)
    assert done.exit_code == status, done.output
    assert problem in " ".join(done.output.split())
    assert sorted(path.name for path in here.iterdir()) == ["CA"]


def test_a_ca_key_that_others_can_read(here: Path) -> None:
    """A CA whose key is open to others signs nothing."""
    (here / "CA/ca.key").chmod(0o644)
    done = run("node", "beta", "--ca", "CA", "--host", "h")
    assert (done.exit_code, "chmod 600" in done.output) == (1, True)
