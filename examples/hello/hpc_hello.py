"""hello: who was greeted, how often, and with how many words.

The smallest namespace that does something: one kind of event, one generator, no jobs. The entry
point in pyproject.toml names this module, since it has what a namespace must have: `namespace` and
`generators`. Both are data; a Hub gets them over the wire and never imports this file.
"""

from __future__ import annotations

import sys
from typing import Any

from hpc import Client
from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec

namespace = NamespaceSpec(
    ns_id="hello",
    schema={
        "Greeted": [
            FieldSpec(key="who", expected_type="String", required=True, min=1, max=200),
            FieldSpec(key="words", expected_type="Int", required=True, min=0),
        ]
    },
)

# A row is the join of what every greeting of a person says: order and repeats do not matter.
people = {
    "on": "Greeted",
    "table": "people",
    "key": "$spec.who",
    "join": {
        "greetings": {"count": 1},
        "words": {"sum": "$spec.words"},
        "longest": {"max": "$spec.words"},
        "first_at": {"min": "$at"},
    },
}
generators = [GeneratorSpec(gid="hello", namespaces=["hello"], rules=[people])]


def greeted(who: str, text: str) -> dict[str, Any]:
    """Return the event that says that somebody was greeted."""
    spec = {"who": who, "words": len(text.split())}
    return {"kind": "Greeted", "payload": {"ctx": {"ns_id": "hello"}, "spec": spec}}


def main() -> None:
    """Record a greeting, and print what the Hub knows of everybody."""
    who, *words = sys.argv[1:]
    with Client() as hub:
        hub.ingest([greeted(who, " ".join(words))])
        for name, row in hub.pull("hello", table="people")["facts"]["people"].items():
            print(f"{name}: {row['greetings']} greetings, {row['words']} words")


if __name__ == "__main__":
    main()
