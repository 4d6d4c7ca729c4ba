"""What the settings must know about URLs: which are good, who can read along, and what to hide in them."""

import re
from urllib.parse import urlsplit


def is_url(value: str, *schemes: str) -> bool:
    """Whether it is a URL with one of the schemes, and a port that is a number where there is one host."""
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return False
    try:
        parts = urlsplit(value)
        several = "," in value or ";" in value
        return bool(parts.netloc or parts.path.strip("/")) and (several or parts.port != 0)
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False


def is_api_url(value: str) -> bool:
    """Whether it is a web address without user and password."""
    return is_url(value, "https", "http") and "@" not in urlsplit(value).netloc


def is_private(url: str) -> bool:
    """Whether nobody can read on the way what is sent there: encrypted, or within this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def password_of(url: str) -> str:
    """Return the password inside a URL, before the host or in the query, or nothing."""
    found = re.search(r"://[^/]*?:(.*)@|[?&]password=([^&;#]*)", url, flags=re.IGNORECASE)
    return (found[1] or found[2]) if found else ""


def mask_url(url: str) -> str:
    """Return the URL without its user and password, or any other text as it is."""
    if "://" not in url:
        return url
    return re.sub(r"(?i)(password=)[^&;#]*", r"\1***", re.sub(r"://.*@", "://***@", url))
