#!/usr/bin/env python3
"""The generated spec.schema.json against a validator that is not ours: python3-jsonschema.

usage: check_json_schema.py SCHEMA CONFIG...   exit 0, 1 at the first surprise, 77 without the package
"""
import json
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)

DATA = {"data": {"name": "d"}}
GOOD = [
    DATA,
    {**DATA, "name": None, "model": {"dim": 64.0, "vocab": None}, "train": {"micro_batch": "auto", "steps": None}},
    {**DATA, "train": {"optimizer": {"betas": [0, 0.5]}, "seed": 2**53 - 1}},
]
BAD = [
    [],
    {},
    {"data": {}},
    {"data": {"name": "../d"}},
    {**DATA, "unknown": 1},
    {**DATA, "model": {"unknown": 1}},
    {**DATA, "model": None},
    {**DATA, "model": {"dim": 0}},
    {**DATA, "model": {"dim": 3.5}},
    {**DATA, "model": {"dim": "64"}},
    {**DATA, "model": {"ffn": {"type": "elefant"}}},
    {**DATA, "model": {"rotary_base": 1}},
    {**DATA, "train": {"micro_batch": 0}},
    {**DATA, "train": {"seed": 2**53}},
    {**DATA, "train": {"optimizer": {"betas": [0.9, 1]}}},
    {**DATA, "train": {"optimizer": {"betas": [0.9]}}},
]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    good = list(GOOD)
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            good.append(json.load(file))
    for spec in good:
        for error in validator.iter_errors(spec):
            sys.exit(f"refused, but a spec: {json.dumps(spec)}: {error.message}")
    for spec in BAD:
        if validator.is_valid(spec):
            sys.exit(f"taken, but no spec: {json.dumps(spec)}")


main()
