"""An HTTP directory as a set of files: walked within bounds, and downloaded only where it changed."""

import html
import re
import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit

import requests


class DirectoryError(ValueError):
    """Why a directory can not be used now; the text is shown in the Ready condition."""


class Directory:
    def __init__(self, limits):
        self.limits, self.session, self.copies = limits, requests.Session(), {}  # link -> bytes, and conditions of the next request

    def poll(self, root):
        """The files that are there now: bytes for each relative path. Within limits: one bad directory must not stop all others."""
        self.bytes_left, self.deadline = self.limits.max_bytes, time.monotonic() + self.limits.max_seconds
        pages, files = [root], {}
        for page in pages:  # grows while it is walked: links that end with a slash are pages, too
            for link in sorted(self.links(page) - {*pages, *files}):
                if len(pages) + len(files) >= self.limits.max_entries:
                    raise DirectoryError(f"{root} has more than {self.limits.max_entries} entries (--max-entries)")
                if link.endswith("/"):
                    pages.append(link)
                else:
                    files[link] = self.copies[link] = self.get(link, *self.copies.pop(link, (b"", {})))
        if not files:  # an empty artifact would have Flux delete all that it applied: rather a mistake than a wish
            raise DirectoryError(f"{root} lists no file")
        self.copies = files
        return {unquote(link[len(root) :]): content for link, (content, _) in files.items()}

    def links(self, page):
        """What a page links to below itself. Links to elsewhere are not for us, and those that hide it ("%2e%2e/") are an error."""
        found = re.findall(r"""<a\s[^>]*?href\s*=\s*["']([^"']+)""", self.get(page)[0].decode(errors="replace"), re.IGNORECASE)
        links = {urlsplit(urljoin(page, html.unescape(href)))._replace(query="", fragment="").geturl() for href in found}
        below = {link for link in links if link.startswith(page) and link != page}
        for link in below:
            if not {"", ".", ".."}.isdisjoint(unquote(link[len(page) :]).removesuffix("/").split("/")):
                raise DirectoryError(f"{page} links to {link}, which is no clean path")
        return below

    def get(self, url, old=b"", conditions={}):
        """The bytes behind a URL, or the old if the conditions say so, and the conditions of the next request. A redirect is an error."""
        try:
            headers, content = {"Accept-Encoding": "identity", **conditions}, bytearray()
            with self.session.get(url, headers=headers, stream=True, timeout=10, allow_redirects=False) as answer:
                if answer.status_code != 200 and not (answer.status_code == 304 and conditions):
                    raise DirectoryError(f"{url} answers {answer.status_code} {answer.reason}")
                for chunk in answer.iter_content(64 * 1024) if answer.status_code == 200 else [old]:
                    content += chunk
                    self.bytes_left -= len(chunk)
                    if self.bytes_left < 0 or time.monotonic() > self.deadline:
                        raise DirectoryError(f"{url}: the directory is too large or too slow (--max-bytes, --max-seconds)")
        except requests.RequestException as error:
            raise DirectoryError(f"{url} can not be read: {error}") from error
        return bytes(content), conditions if answer.status_code == 304 else next_conditions(answer.headers)


def next_conditions(headers):
    if "ETag" in headers:
        return {"If-None-Match": headers["ETag"]}
    try:
        # Last-Modified counts seconds: bytes that were this fresh can have changed again within the same one.
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(headers["Last-Modified"])
        return {"If-Modified-Since": headers["Last-Modified"]} if age > timedelta(seconds=1) else {}
    except (KeyError, TypeError, ValueError):
        return {}
