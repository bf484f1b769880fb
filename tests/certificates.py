"""Authorities and certificates by openssl."""

import subprocess

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


def authority(folder, name):
    """NAME.pem and NAME.key."""
    openssl("req", "-x509", *EC, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", cwd=folder)


def certificate(folder, name, names, by="ca", subject=None):
    """NAME.crt and NAME.key by an authority, with these subject alternative names."""
    openssl("req", *EC, "-subj", f"/CN={subject or name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
    (folder / "names").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", f"{name}.crt", cwd=folder)
    return folder / f"{name}.crt", folder / f"{name}.key"


def mutual(folder):
    """A listener's certificate (tls) by one authority (ca), and authorities of its clients and of others."""
    for name in ("ca", "clients", "others"):
        authority(folder, name)
    certificate(folder, "tls", "DNS:localhost,IP:127.0.0.1")
    return folder
