"""Strict JSON bodies: one document, known fields, right types, no key twice; each fault named by its JSON pointer."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final, TypeVar

import msgspec

from shared.compression import NotCompressed, TooLong, decompress
from shared.identifiers import ID_PATTERN
from shared.problems import Problem, ProblemError
from shared.web.answers import NO_ID
from shared.web.context import RequestContext

MAX_BODY_BYTES: Final = 1_048_576
JSON: Final = "application/json"
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>\$[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"missing required field `(?P<field>.*)`", re.DOTALL)
_ID_FORM: Final = repr(ID_PATTERN)[1:-2]  # as msgspec quotes it, up to the end of the text
_ENCODER: Final = msgspec.json.Encoder()

T = TypeVar("T")


def demand_json(context: RequestContext, *, zstd: bool = False, media: str = JSON) -> None:
    """Raise 415 unless the body is declared as `media`, as it is or in a coding that the route takes.

    An absent Content-Type counts as right.
    """
    coding, content_type = context.content_encoding, context.content_type
    if coding is not None and coding.lower() not in ((b"identity", b"zstd") if zstd else (b"identity",)):
        raise Problem(
            "unsupported_media_type",
            f"Content-Encoding is {coding.decode('latin-1')!r}; this route takes {'zstd or none' if zstd else 'none'}.",
            headers=(("accept-encoding", "zstd, identity" if zstd else "identity"),),
        )
    right = media.encode("ascii")
    if content_type is None or content_type == right:
        return
    media_type, _, parameters = content_type.lower().partition(b";")
    if media_type.strip() != right or parameters.strip() not in (b"", b"charset=utf-8"):
        raise Problem(
            "unsupported_media_type",
            f"Content-Type is {content_type.decode('latin-1')!r}; send {media}, encoded as UTF-8.",
        )


def too_large() -> Problem:
    """Make the 413 problem."""
    return Problem("body_too_large", f"The body is larger than {MAX_BODY_BYTES} bytes; send less at once.")


def decoded(body: bytes, limit: int) -> bytes:
    """Return the content of a body in Zstandard, raising a 400 or 413 problem; `limit` bounds it in bytes."""
    try:
        return decompress(body, limit)
    except NotCompressed as error:
        raise Problem(
            "malformed_json", f"The body is not in the coding zstd, as Content-Encoding says: {error}."
        ) from error
    except TooLong as error:
        raise Problem(
            "body_too_large", f"The body holds more than {limit} bytes when it is decoded; send less at once."
        ) from error


def decode_strict(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode one strict JSON document, raising a 400 problem that names the field and what is wrong with it.

    The Structs of the decoder's type must omit their defaults: else a default that is written again could stand in for a
    key that was given twice.
    """
    try:
        value = decoder.decode(body)
        # A key given twice would be read differently by different readers. Writing the value again has as many quotes as
        # the body unless something was given twice (or escaped, or null): only then the slow, certain look is needed.
        again = _ENCODER.encode(value)
        if again != body and (b"\\u" in body or body.count(b'"') != again.count(b'"')):
            _refuse_duplicates(body)
    except msgspec.ValidationError as error:
        raise _validation_problem(str(error)) from error
    except RecursionError as error:
        raise Problem("malformed_json", "The body is nested too deeply.") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Problem("malformed_json", f"The body is not one JSON document in UTF-8: {error}.") from error
    return value


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as it is written, with every key."""

    __slots__ = ()


def _refuse_duplicates(body: bytes) -> None:
    place = _duplicate_in(json.loads(body, object_pairs_hook=_Pairs), "")
    if place is not None:
        raise Problem(
            "validation_failed",
            f"{place[:200]}: the key is given twice in one object; give it once.",
            errors=[ProblemError(pointer=place, detail="the key is given twice; give it once")],
        )


def _duplicate_in(value: Any, pointer: str) -> str | None:
    """Return the pointer to a key that its object has twice, or None."""
    if isinstance(value, _Pairs):
        counted = Counter(key for key, _ in value)
        twice = next((key for key, count in counted.items() if count > 1), None)
        if twice is not None:
            return f"{pointer}/{_escape(twice)}"
        children = [(_escape(key), child) for key, child in value]
    elif isinstance(value, list):
        children = [(str(index), child) for index, child in enumerate(value)]
    else:
        return None
    found = (_duplicate_in(child, f"{pointer}/{token}") for token, child in children)
    return next((place for place in found if place is not None), None)


def _validation_problem(text: str) -> Problem:
    match = _AT.match(text)
    assert match  # the pattern matches any text
    pointer, what = _pointer(match["where"] or "$"), match["what"]
    if unknown := _UNKNOWN.search(what):
        pointer, what = f"{pointer}/{_escape(unknown['field'])}", "unknown field; leave it out"
    elif missing := _MISSING.search(what):
        pointer, what = f"{pointer}/{_escape(missing['field'])}", "required field is missing"
    code = "validation_failed"
    if _ID_FORM in what:
        code, what = "invalid_id", NO_ID
    detail = f"{pointer or 'The body'}: {what}."
    return Problem(code, detail, errors=[ProblemError(pointer=pointer, detail=what)])


def _pointer(path: str) -> str:
    """Turn msgspec's `$.events[0].data` into the JSON pointer `/events/0/data`.

    Within an object of free keys msgspec says `[...]`: the pointer then ends at that object.
    """
    known = path.removeprefix("$").partition("[...]")[0]
    return re.sub(r"\[(\d+)\]", r"/\1", known.replace(".", "/"))


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
