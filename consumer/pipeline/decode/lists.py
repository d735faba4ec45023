"""Splits a JSON document that holds several checkpoints, each as its original bytes.

Such a document is an array, or a list response of an API: an object with ``"object": "list"`` and
``"data"``.
"""

import msgspec


class _ListResponse(msgspec.Struct):
    object: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


_decode_list = msgspec.json.Decoder(_ListResponse).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def list_members(text: bytes) -> list[msgspec.Raw] | None:
    """Return the members of a list response or an array, or None for anything else.

    The text must not begin with white space. A text that is not JSON gives None.
    """
    try:
        if text[:1] == b"[":
            return _decode_array(text)
        if b'"list"' in text and b'"data"' in text:
            response = _decode_list(text)
            if bytes(response.object) == b'"list"':
                return _decode_array(response.data)
    except (ValueError, RecursionError):  # the whole text is one element, which is invalid
        pass
    return None
