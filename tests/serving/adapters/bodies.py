"""Bodies of requests for the stand-in, good and bad."""

import json


def body(row):
    return json.dumps({"row": row})


BAD = {
    "no JSON": "{",
    "empty": "",
    "not finite": '{"row": [NaN, 1, 2, 3]}',
    "infinite": '{"row": [1e999, 1, 2, 3]}',
    "another shape": '{"row": [1, 2]}',
    "ragged": '{"row": [[1], [2, 3], 4, 5]}',
    "words": '{"row": ["a", "b", "c", "d"]}',
    "another key": '{"values": [1, 2, 3, 4]}',
    "another input": '{"row": {"y": [1, 2, 3, 4]}}',
    "a number": "7",
    "brackets": "[" * 100_000,
    "digits": '{"row": [' + "9" * 5000 + ", 1, 2, 3]}",
    "bytes": b"\xff\xfe\x00",
}
