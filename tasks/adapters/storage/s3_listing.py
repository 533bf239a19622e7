"""All objects of a bucket under a prefix: page by page, and where there are many, folder beside folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

Request = Mapping[str, Any]
Page = Mapping[str, Any]
Ask = Callable[[Request], Page]
"""Asks a store for a page of `list_objects_v2`."""

AT_ONCE = 8
"""Pages that are asked for at once; a connection to S3 has ten."""

MAX_FOLDERS = 10
"""Folders among a thousand keys, of which each is listed by itself."""

MAX_PARTS = 1000
"""Folders that are listed by themselves."""

MAX_LEVELS = 3
"""Levels of folders that are looked through for enough of them."""


def objects(ask: Ask, bucket: str, prefix: str, *, side_by_side: bool) -> Iterator[Mapping[str, Any]]:
    """The objects under a prefix, each once; in no order, where they are many and may come `side_by_side`."""
    request = {"Bucket": bucket, "Prefix": prefix}
    first = ask(request)
    yield from first.get("Contents", ())
    if not first.get("IsTruncated"):
        return
    keys = [entry["Key"] for entry in first.get("Contents", ())]
    if side_by_side and (levels := levels_to_split(keys, prefix)):
        yield from _in_parts(ask, request, levels, known=frozenset(keys))
    else:
        rest = {**request, "ContinuationToken": first["NextContinuationToken"]}
        for page in pages(ask, [rest]):
            yield from page.get("Contents", ())


def _in_parts(
    ask: Ask, request: Request, levels: int, *, known: frozenset[str]
) -> Iterator[Mapping[str, Any]]:
    """All but the `known` keys: folders of so many levels are looked up, and then each is listed."""
    folders, nested_only = [request["Prefix"]], False
    for _ in range(levels):
        inside: list[str] = []
        for page in pages(ask, [{**request, "Prefix": folder, "Delimiter": "/"} for folder in folders]):
            yield from (entry for entry in page.get("Contents", ()) if entry["Key"] not in known)
            inside += [folder["Prefix"] for folder in page.get("CommonPrefixes", ())]
        nested_only = len(inside) > MAX_PARTS  # what lies in the folders themselves has come already
        folders = folders if nested_only else sorted(inside)
        if nested_only or len(folders) >= AT_ONCE:
            break
    for page in pages(ask, [{**request, "Prefix": folder} for folder in folders]):
        for entry in page.get("Contents", ()):
            nested = "/" in entry["Key"].removeprefix(page["Prefix"])
            if entry["Key"] not in known and (nested or not nested_only):
                yield entry


def pages(ask: Ask, requests: Iterable[Request]) -> Iterator[Page]:
    """All pages that answer these requests, some at once and in no order; few of them are in memory."""
    waiting, ready = deque(requests), list[Page]()
    running: dict[Future[Page], Request] = {}
    with ThreadPoolExecutor(AT_ONCE, "list") as pool:
        while waiting or running or ready:
            while waiting and len(running) < AT_ONCE:
                request = waiting.popleft()
                running[pool.submit(ask, request)] = request
            yield from ready  # while the next ones come
            ready = []
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                page, request = done.result(), running.pop(done)
                if page.get("IsTruncated"):
                    waiting.appendleft({**request, "ContinuationToken": page["NextContinuationToken"]})
                ready.append({**page, "Prefix": request["Prefix"]})  # which not all stores repeat


def levels_to_split(keys: Iterable[str], prefix: str) -> int:
    """Down to which level folders under a prefix are listed side by side, by the first thousand of its keys.

    A folder costs at least a request, which would bring a thousand keys: small ones are listed together.

    >>> levels_to_split([f"in/2026/{day}/{n}.mp4" for day in range(11) for n in range(90)], "in/")
    1
    """
    inside = [key.removeprefix(prefix).split("/")[:-1] for key in keys]
    for level in range(1, MAX_LEVELS + 1):
        if not 0 < len({tuple(names[:level]) for names in inside if len(names) >= level}) <= MAX_FOLDERS:
            return level - 1
    return MAX_LEVELS
