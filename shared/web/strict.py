"""Strict JSON bodies: one document, known fields, right types, no key twice; each fault named by its JSON pointer."""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeVar

import msgspec

from shared.compression import NotCompressed, TooLong, decompress
from shared.identifiers import ID_PATTERN
from shared.problems import Problem, ProblemError
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
    """Decode one strict JSON document, raising a 400 problem that names the field and what is wrong with it."""
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


def _refuse_duplicates(body: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise Problem(
                    "validation_failed",
                    f"The key {key[:100]!r} is given twice in one object; give it once.",
                    errors=[ProblemError(detail=f"duplicate key {key[:100]!r}")],
                )
            seen.add(key)

    json.loads(body, object_pairs_hook=once)


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
        code, what = "invalid_id", "is not an id: 1–128 of A–Z a–z 0–9 _ . : @ -"
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
